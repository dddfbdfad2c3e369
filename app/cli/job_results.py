"""Lines that several commands show of a job's result."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from app.cli.output import size_text


def accuracy_rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    names = {"pytorch": "PyTorch model", "onnx": "ONNX file", "http": "over HTTP"}
    rows = [(f"test accuracy, {names[key]}", f"{value:.2%}") for key, value in result["test_accuracy"].items()]
    if result.get("test_accuracy_tta") is not None:
        rows.append(("with test-time augmentation", f"{result['test_accuracy_tta']:.2%}"))
    return rows


def file_rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    fp32 = result["variants"][0]
    latency = ", ".join(f"{value:.2f} ms at batch {size}" for size, value in fp32["latency_ms"].items())
    return [
        ("ONNX file size", size_text(fp32["bytes"])),
        ("largest difference from PyTorch", f"{fp32['max_error']:.1e}"),
        ("ONNX Runtime, one thread", latency),
    ]


def variants_table(variants: list[dict[str, Any]]) -> Table:
    """One row for each; latency is that of one thread."""
    table = Table("variant", "accuracy", "size", "mean error", "batch 1", "batch 32", box=None, pad_edge=False)
    table.add_column("", overflow="fold")
    for variant in variants:
        latency = variant["latency_ms"]
        table.add_row(
            variant["name"],
            "" if variant["accuracy"] is None else f"{variant['accuracy']:.2%}",
            "" if variant["bytes"] is None else size_text(variant["bytes"]),
            "" if variant["mean_error"] is None else f"{variant['mean_error']:.1e}",
            *(f"{latency[size]:.2f} ms" if size in latency else "" for size in ("1", "32")),
            f"rejected: {variant['reason']}" if variant["status"] == "rejected" else variant["reason"],
        )
    return table


def comparison_table(rows: list[dict[str, Any]]) -> Table:
    """One row for each format of each version; latency is that of one thread."""
    table = Table("", "accuracy", "size", "mean error", "p50", "p99", "images/s", "memory", box=None, pad_edge=False)
    for row in rows:
        name = f"{row['version']} {row['name']}"
        if row["status"] != "ok":
            table.add_row(name, row["status"])
            continue
        table.add_row(
            name,
            f"{row['accuracy']:.2%}",
            size_text(row["bytes"]),
            f"{row['mean_error']:.1e}",
            f"{row['latency_ms']['1']:.3f} ms",
            f"{row['p99_ms']:.3f} ms",
            f"{row['images_per_second']:,.0f}",
            "" if row["peak_memory_bytes"] is None else size_text(row["peak_memory_bytes"]),
        )
    return table


def mlflow_command(result: dict[str, Any]) -> str:
    return f"mlflow ui --backend-store-uri {result['tracking_uri']}"
