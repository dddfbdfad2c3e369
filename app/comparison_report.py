"""The comparison as one HTML file: a table, and what each format costs for its accuracy."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from app.atomic_file import write_atomically
from app.comparison import Comparison, Row, pareto
from app.html_page import drawing, page, paragraph, reason_row, table, table_row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("accuracy", lambda row: _shown(row.accuracy, lambda value: f"{value:.2%}")),
    ("size", lambda row: _shown(row.bytes, lambda value: f"{value / 1000:,.1f} kB")),
    ("largest error", lambda row: _shown(row.max_error, lambda value: f"{value:.1e}")),
    ("mean error", lambda row: _shown(row.mean_error, lambda value: f"{value:.1e}")),
    ("p50", lambda row: _shown(row.latency_ms.get("1"), lambda value: f"{value:.3f} ms")),
    ("p99", lambda row: _shown(row.p99_ms, lambda value: f"{value:.3f} ms")),
    ("batch of 32", lambda row: _shown(row.latency_ms.get("32"), lambda value: f"{value:.2f} ms")),
    ("images/s", lambda row: _shown(row.images_per_second, lambda value: f"{value:,.0f}")),
    ("peak memory", lambda row: _shown(row.peak_memory_bytes, lambda value: f"{value / 1e6:,.0f} MB")),
)


def write_report(comparison: Comparison, path: Path) -> None:
    fast = {row.label for row in front(comparison, lambda row: row.latency_ms.get("1"))}
    title = "Formats compared: " + ", ".join(dict.fromkeys(row.version for row in comparison.rows))
    text = page(
        title,
        paragraph(
            f"{comparison.test_images:,} test images of {comparison.data}. Latency is that of one thread, p50 and p99 "
            "of one image, all formats measured in turns. Errors are differences of probabilities from the PyTorch "
            "model's, for the C++ engine from those of the file that it runs. Bold: no other format is both faster and "
            "more accurate. Points are numbered as the rows."
        ),
        table(
            ("", *(name for name, _ in COLUMNS)),
            (_row(number, row, in_front=row.label in fast) for number, row in _numbered(comparison)),
        ),
        drawing(11, 4.2, lambda figure: _plot(figure, comparison)),
    )
    write_atomically(path, text)


def front(comparison: Comparison, cost: Callable[[Row], float | None]) -> list[Row]:
    """Rows that no other one beats in both cost and accuracy, the cheapest first."""
    rows = [row for row in comparison.rows if cost(row) is not None and row.accuracy is not None]
    return [rows[index] for index in pareto([(cost(row) or 0.0, row.accuracy or 0.0) for row in rows])]


def _numbered(comparison: Comparison) -> Iterable[tuple[int, Row]]:
    return enumerate(comparison.rows, start=1)


def _row(number: int, row: Row, *, in_front: bool) -> str:
    label = f"{number}  {row.label}"
    if row.status != "ok":
        return reason_row(label, f"{row.status}: {row.reason}", len(COLUMNS))
    return table_row((label, *(show(row) for _, show in COLUMNS)), in_front=in_front)


def _shown(value: float | None, show: Callable[[float], str]) -> str:
    return "" if value is None else show(value)


def _plot(figure: Figure, comparison: Comparison) -> None:
    left, right = figure.subplots(1, 2, sharey=True)
    _scatter(left, comparison, lambda row: row.latency_ms.get("1"), "ms for one image, one thread")
    _scatter(right, comparison, lambda row: None if row.bytes is None else row.bytes / 1000, "size, kB")
    left.set_ylabel("test accuracy, %")


def _scatter(panel: Axes, comparison: Comparison, cost: Callable[[Row], float | None], label: str) -> None:
    """Every format, and a line through those that no other one beats."""
    from matplotlib.ticker import LogLocator, NullFormatter

    best = front(comparison, cost)
    panel.plot(
        [cost(row) or 0.0 for row in best], [100 * (row.accuracy or 0) for row in best], color="tab:orange", zorder=1
    )
    named: list[tuple[float, float, list[int]]] = []
    points = [
        (value, 100 * row.accuracy, number, row)
        for number, row in _numbered(comparison)
        if (value := cost(row)) is not None and row.accuracy is not None
    ]
    for value, accuracy, number, row in sorted(points, key=lambda point: point[:3]):
        panel.scatter(value, accuracy, color="tab:orange" if row in best else "tab:blue", s=28, zorder=2)
        for x, y, numbers in named:
            if value < 1.35 * x and abs(accuracy - y) < 0.1:  # their numbers would lie over each other
                numbers.append(number)
                break
        else:
            named.append((value, accuracy, [number]))
    for value, accuracy, numbers in named:
        text = ", ".join(map(str, numbers))
        panel.annotate(text, (value, accuracy), xytext=(0, -5), textcoords="offset points", fontsize=8, va="top")
    panel.set_xscale("log")
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.xaxis.set_major_formatter("{x:g}")
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.margins(x=0.2, y=0.2)
    panel.set_xlabel(label)
    panel.grid(alpha=0.3)
