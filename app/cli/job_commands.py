"""Verbs that run a model, or make something of it: pipeline, convert, compare, evaluate, cascade, batch-predict."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import typer

from app.answers_file import check_format
from app.cli.job_results import accuracy_rows, comparison_table, file_rows, mlflow_command, variants_table
from app.cli.job_settings import Shown, absolute, prepared, resumable, typed
from app.cli.output import Output
from app.cli.session import Session, session
from app.config import DEFAULT_HTTP_PORT, http_host
from app.errors import ClusterError
from app.options import to_argv, with_options
from app.settings import (
    BatchPredictSettings,
    CascadeSettings,
    CompareSettings,
    ConvertSettings,
    EvaluateSettings,
    PipelineSettings,
    VerifySettings,
)
from cluster.jobs import git_commit
from cluster.ports import check_port_free
from cluster.serve_client import ServeClient


@dataclasses.dataclass(frozen=True, kw_only=True)
class PipelineCommand(PipelineSettings, Shown):
    keep: bool = False
    """Leave the service up; `manta down` ends it. Otherwise everything that was started is stopped again."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvertCommand(ConvertSettings, Shown):
    pass


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateCommand(EvaluateSettings, Shown):
    pass


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchPredictCommand(BatchPredictSettings, Shown):
    pass


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompareCommand(CompareSettings, Shown):
    pass


@dataclasses.dataclass(frozen=True, kw_only=True)
class CascadeCommand(CascadeSettings, Shown):
    pass


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerifyCommand(VerifySettings, Shown):
    pass


def add_to(app: typer.Typer) -> None:
    app.command("pipeline")(with_options(PipelineCommand)(pipeline))
    app.command("convert")(with_options(ConvertCommand)(convert))
    app.command("compare")(with_options(CompareCommand)(compare))
    app.command("evaluate")(with_options(EvaluateCommand)(evaluate))
    app.command("cascade")(with_options(CascadeCommand)(cascade))
    app.command("verify")(with_options(VerifyCommand)(verify))
    app.command("batch-predict")(with_options(BatchPredictCommand)(batch_predict))


def pipeline(settings: PipelineCommand) -> None:
    """Images to a live endpoint, checked over HTTP.

    Trains, converts to ONNX, registers the version as champion, serves it, and sends it the test split.

    Example: manta pipeline --data photos.zip --epochs 20 --keep
    """
    output = Output(as_json=settings.json)
    settings = prepared(settings)
    with session(output, serving=True, port=settings.port, keep=settings.keep) as running:
        was_served = check_port(running, settings.port)
        try:
            with resumable(settings, running.home.runs, output):
                result = running.run_job("train_jobs.pipeline", to_argv(settings, PipelineSettings), output)
        finally:
            if not (settings.keep or was_served or running.started_here):
                end_service(running)
    show_pipeline(result, output, kept=settings.keep or was_served)
    output.result(result)


def convert(settings: ConvertCommand) -> None:
    """Make a new bundle of a version or a run, with int8, fp16 and TFLite variants.

    Each variant is measured on the test split: one whose answers differ too much from the network's, that loses too
    much accuracy, or that is no faster than the graph it was made of, is left out, and the reason is kept.

    Example: manta convert digits/1 --variants int8,tflite
    """
    output = Output(as_json=settings.json)
    settings = dataclasses.replace(settings, data=absolute(settings.data), git_commit=git_commit(), command=typed())
    with session(output) as running:
        result = running.run_job("train_jobs.convert", to_argv(settings, ConvertSettings), output)
    output.table(variants_table(result["variants"]))
    output.facts(result["version"], accuracy_rows(result))
    output.next_commands(f"manta evaluate {result['version']}", f"manta serve {result['version']}")
    output.result(result)


def compare(settings: CompareCommand) -> None:
    """Compare formats of versions: PyTorch, ONNX, int8, fp16, TFLite.

    Size, accuracy, errors, latency, throughput and memory, as a table and as an HTML page with plots.

    Example: manta compare photos/1 photos/2
    """
    output = Output(as_json=settings.json)
    result = measured("train_jobs.compare", settings, CompareSettings, output)
    output.table(comparison_table(result["variants"]))
    output.facts("report", [("page", result["report"])])
    output.next_commands(result["report"])
    output.result(result)


def evaluate(settings: EvaluateCommand) -> None:
    """Measure a version class by class on held-out images.

    Example: manta evaluate digits@champion --split val
    """
    output = Output(as_json=settings.json)
    result = measured("train_jobs.evaluate", settings, EvaluateSettings, output)
    output.next_commands(f"manta serve {result['version']}", "manta versions")
    output.result(result)


def cascade(settings: CascadeCommand) -> None:
    """Find the confidence below which a fast version should ask an accurate one.

    The threshold is chosen on validation images, the cheapest that keeps the accuracy, and measured on the test split.

    Example: manta cascade photos/2 photos/1 --max-loss 0.2
    """
    output = Output(as_json=settings.json)
    result = measured("train_jobs.cascade", settings, CascadeSettings, output)
    output.facts(
        f"{result['fast']} -> {result['accurate']}",
        [
            ("threshold", f"{result['validation']['threshold']:.4f}"),
            ("test accuracy", f"{result['test']['accuracy']:.2%} (alone {result['test']['accurate_alone']:.2%})"),
            ("asked of the accurate one", f"{result['test']['share']:.1%}"),
            ("an image", f"{result['test']['cost_ms']:.3f} ms (alone {result['cost_ms']['accurate']:.3f} ms)"),
            ("traffic block", result["file"]),
        ],
    )
    output.next_commands(f"cat {result['file']}")
    output.result(result)


def verify(settings: VerifyCommand) -> None:
    """Measure a stored version again: checksums, parity, and the accuracy of every variant.

    Ends with an error that says by how much, when something does not hold any more.

    Example: manta verify digits@champion
    """
    output = Output(as_json=settings.json)
    result = measured("train_jobs.verify", settings, VerifySettings, output)
    output.next_commands(f"manta serve {result['version']}")
    output.result(result)


def batch_predict(settings: BatchPredictCommand) -> None:
    """Classify every image of a folder or zip, in parallel on the cluster, into one file.

    Files that cannot be read have a row that says why. The file appears under its name once it is complete.

    Example: manta batch-predict photos@champion holiday/ --out holiday.csv
    """
    output = Output(as_json=settings.json)
    # A job's working directory is not the user's.
    settings = dataclasses.replace(
        settings,
        images=str(Path(settings.images).expanduser().absolute()),
        out=absolute(settings.out),
    )
    if settings.out:
        check_format(Path(settings.out))
    with session(output) as running:
        result = running.run_job("train_jobs.batch_predict", to_argv(settings, BatchPredictSettings), output)
    most = sorted(result["classes"].items(), key=lambda each: -each[1])[:5]
    output.facts(
        f"{result['images']:,} images, {result['version']}",
        [
            ("images/s", f"{result['images_per_s']:,.0f}"),
            ("most frequent", ", ".join(f"{label} {count:,}" for label, count in most if count)),
            ("unreadable", f"{result['failed']:,}"),
            ("answers", result["out"]),
        ],
    )
    output.next_commands(f"head {result['out']}" if not result["out"].endswith(".parquet") else f"ls {result['out']}")
    output.result(result)


def measured(
    module: str,
    settings: CompareCommand | EvaluateCommand | CascadeCommand | VerifyCommand,
    kind: type,
    output: Output,
) -> dict[str, Any]:
    """Runs a job that measures registered versions. kind: the settings that it takes."""
    settings = dataclasses.replace(settings, data=absolute(settings.data))
    with session(output) as running:
        return running.run_job(module, to_argv(settings, kind), output)


def check_port(running: Session, port: int | None) -> bool:
    """Whether a service already runs on this cluster. Raises PortInUse, or ClusterError when it has another port."""
    with contextlib.closing(ServeClient(running.connection.dashboard_url)) as client:
        state = client.state()
    if state.port is None:
        if running.connection.local is not None:
            check_port_free(http_host(), port or DEFAULT_HTTP_PORT)
        return False
    if port not in (None, state.port):
        raise ClusterError(f"this cluster already serves on port {state.port}; leave out --port, or `manta down` first")
    return bool(state.applications)


def end_service(running: Session) -> None:
    with contextlib.closing(ServeClient(running.connection.dashboard_url)) as client:
        client.shutdown()


def show_pipeline(result: dict[str, Any], output: Output, *, kept: bool) -> None:
    latency, seconds = result["latency_ms"], result["seconds"]
    output.facts(
        f"{result['version']} ({', '.join(result['aliases'])})",
        [
            *accuracy_rows(result),
            *file_rows(result),
            ("validation accuracy", f"{result['val_accuracy']:.2%}"),
            ("HTTP latency, one client", f"p50 {latency['p50']:.1f} ms, p99 {latency['p99']:.1f} ms"),
            (
                "seconds",
                f"train {seconds['train']:.1f}, convert {seconds['convert']:.1f}, "
                f"serve {seconds['serve']:.1f}, total {seconds['total']:.1f}",
            ),
            ("artifacts", result["artifacts"]),
            ("curves", result["curves"]),
            ("MLflow runs", result["tracking_uri"]),
            ("service", f"{result['url']} ({'up' if kept else 'stopped again; --keep leaves it up'})"),
        ],
    )
    if kept:
        commands = [
            f"curl -s {result['url']}/predict -H 'Content-Type: image/png' --data-binary @IMAGE.png",
            f"{result['url']}/docs",
            "manta status",
            "manta down",
        ]
    else:
        commands = [f"manta serve {result['version']}", f"manta evaluate {result['version']}", "manta versions"]
    output.next_commands(*commands, mlflow_command(result))
