"""A load test as one HTML page: the table, what clients and batches do to it, and the soak over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from app.atomic_file import write_atomically
from app.html_page import drawing, heading, page, paragraph, reason_row, table, table_row
from app.load_test import LoadResult, LoadRow, SoakSample

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS: tuple[tuple[str, Callable[[LoadRow], str]], ...] = (
    ("clients", lambda row: str(row.clients)),
    ("images a request", lambda row: str(row.images)),
    ("requests/s", lambda row: rate_text(row.requests_per_second)),
    ("images/s", lambda row: rate_text(row.images_per_second)),
    ("p50", lambda row: milliseconds_text(row.latency_ms.get("p50"))),
    ("p95", lambda row: milliseconds_text(row.latency_ms.get("p95"))),
    ("p99", lambda row: milliseconds_text(row.latency_ms.get("p99"))),
    ("max", lambda row: milliseconds_text(row.latency_ms.get("max"))),
    ("answers", lambda row: f"{row.answers:,}"),
    ("errors", lambda row: errors_text(row)),
)


def rate_text(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"


def milliseconds_text(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} ms" if value >= 10 else f"{value:.2f} ms"


def errors_text(row: LoadRow) -> str:
    return ", ".join(f"{kind}: {count:,}" for kind, count in sorted(row.errors.items())) or "none"


def generator_text(result: LoadResult) -> str:
    """What the figures owe to the program that measured them."""
    text = (
        "Each client sends its next request when the one before is answered. The generator is one process; with a core "
        f"of its own it could send about {result.generator_limit:,} single images a second."
    )
    if not result.busy_rows:
        return text
    rows = ", ".join(f"{row.name} with {row.clients} clients" for row in result.busy_rows)
    return f"{text} It was busy for more than 80 % of the time in: {rows}; there the service may do more than is shown."


def memory_text(result: LoadResult) -> str:
    if result.memory_reason:
        return f"memory over time is not known: {result.memory_reason}"
    growth = result.memory_growth
    last = next(sample.memory_bytes for sample in reversed(result.soak) if sample.memory_bytes is not None)
    grown = "" if growth is None else f", {growth / 1e6:+,.1f} MB since the first sample"
    return f"{last / 1e6:,.0f} MB at the end of the soak{grown}"


def write_report(result: LoadResult, path: Path) -> None:
    """Its folder must exist."""
    served = f"{result.model} version {result.model_version}, " if result.model else ""
    parts = [
        paragraph(
            f"{served}{result.different_images} different images ({result.image_source}) of {result.image_bytes:,} "
            f"bytes on average. {generator_text(result)}"
        ),
        table(("", *(name for name, _ in COLUMNS)), map(_row, result.rows)),
        drawing(11, 3.8, lambda figure: _draw_rows(figure, result.rows)),
    ]
    if result.soak:
        parts += [
            heading("Soak"),
            paragraph(memory_text(result)[:1].upper() + memory_text(result)[1:] + "."),
            drawing(11, 3.2, lambda figure: _draw_soak(figure, result.soak)),
        ]
    write_atomically(path, page(f"Load test of {result.url}", *parts))


def _row(row: LoadRow) -> str:
    if row.reason:
        return reason_row(row.name, f"{row.images} images: {row.reason}", len(COLUMNS))
    return table_row((row.name, *(show(row) for _, show in COLUMNS)))


def _draw_rows(figure: Figure, rows: Sequence[LoadRow]) -> None:
    rate, latency, batches = figure.subplots(1, 3)
    singles = [row for row in rows if row.name == "single images" and row.answers]
    _line(rate, [row.clients for row in singles], [row.requests_per_second for row in singles], "tab:blue")
    rate.set(xlabel="clients", ylabel="requests/s")
    for name, colour in (("p50", "tab:blue"), ("p95", "tab:green"), ("p99", "tab:orange")):
        _line(latency, [row.clients for row in singles], [row.latency_ms[name] for row in singles], colour, name)
    latency.set(xlabel="clients", ylabel="ms")
    if singles:
        latency.legend()
    sizes = [row for row in rows if row.name == "batches" and row.answers]
    _line(batches, [row.images for row in sizes], [row.images_per_second for row in sizes], "tab:blue")
    batches.set(xlabel="images a request, one client", ylabel="images/s")
    for panel in (rate, latency, batches):
        _finish(panel)


def _line(panel: Axes, places: Sequence[int], values: Sequence[float], colour: str, label: str = "") -> None:
    """Places are spaced evenly: 1, 8 and 32 are steps rather than distances."""
    panel.plot(range(len(places)), values, marker="o", color=colour, label=label)
    panel.set_xticks(range(len(places)), [str(place) for place in places])


def _draw_soak(figure: Figure, samples: Sequence[SoakSample]) -> None:
    rate, slowest, memory = figure.subplots(1, 3, sharex=True)
    seconds = [sample.second for sample in samples]
    rate.plot(seconds, [sample.requests_per_second for sample in samples], color="tab:blue")
    rate.set_ylabel("requests/s")
    slowest.plot(seconds, [sample.p99_ms or float("nan") for sample in samples], color="tab:orange")
    slowest.set_ylabel("p99, ms")
    known = [sample for sample in samples if sample.memory_bytes is not None]
    memory.plot([one.second for one in known], [(one.memory_bytes or 0) / 1e6 for one in known], color="tab:green")
    memory.set_ylabel("memory, MB" if known else "memory is not known")
    for panel in (rate, slowest, memory):
        panel.set_xlabel("s")
        _finish(panel)


def _finish(panel: Axes) -> None:
    """From zero on, with some room above; only once all lines are drawn, because it ends automatic limits."""
    panel.set_ylim(0, 1.1 * panel.get_ylim()[1])
    panel.grid(alpha=0.3)
