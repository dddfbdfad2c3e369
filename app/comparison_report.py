"""The comparison as one HTML file: a table, and what each format costs for its accuracy."""

from __future__ import annotations

import html
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from app.atomic_file import write_atomically
from app.comparison import Comparison, Row, pareto

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2430; background: #fff; margin: 2rem auto; max-width: 82rem;
  padding: 0 1rem; }
h1 { font-size: 1.4rem; margin-bottom: 0.2rem; }
p { color: #51606f; margin: 0.3rem 0 1.2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 0.4rem 0.7rem; text-align: right; border-bottom: 1px solid #e4e9ee; white-space: nowrap; }
th { color: #51606f; font-weight: 600; }
th:first-child, td:first-child { text-align: left; }
td.reason { text-align: left; white-space: normal; color: #8a3b12; }
tr.front td:first-child { font-weight: 700; }
svg { max-width: 100%; height: auto; }
"""
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
    """One file without anything from elsewhere, so that it can be mailed or logged to MLflow."""
    fast = {row.label for row in front(comparison, lambda row: row.latency_ms.get("1"))}
    head = "".join(f"<th>{html.escape(name)}</th>" for name in ("", *(name for name, _ in COLUMNS)))
    body = "".join(_table_row(row, in_front=row.label in fast) for row in comparison.rows)
    title = "Formats compared: " + ", ".join(dict.fromkeys(row.version for row in comparison.rows))
    images, data = f"{comparison.test_images:,}", html.escape(comparison.data)
    text = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>
<h1>{html.escape(title)}</h1>
<p>{images} test images of {data}. Latency is that of one thread, p50 and p99 of one image, all formats measured in
turns. Errors are differences of probabilities from the PyTorch model's. Bold: no other format is both faster and more
accurate.</p>
<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>
{_plots(comparison)}
</body></html>
"""
    write_atomically(path, text)


def front(comparison: Comparison, cost: Callable[[Row], float | None]) -> list[Row]:
    """Rows that no other one beats in both cost and accuracy, the cheapest first."""
    rows = [row for row in comparison.rows if cost(row) is not None and row.accuracy is not None]
    return [rows[index] for index in pareto([(cost(row) or 0.0, row.accuracy or 0.0) for row in rows])]


def _table_row(row: Row, *, in_front: bool) -> str:
    cells = f"<td>{html.escape(row.label)}</td>"
    if row.status == "ok":
        cells += "".join(f"<td>{html.escape(show(row))}</td>" for _, show in COLUMNS)
    else:
        cells += f'<td class="reason" colspan="{len(COLUMNS)}">{html.escape(f"{row.status}: {row.reason}")}</td>'
    return f'<tr class="front">{cells}</tr>' if in_front else f"<tr>{cells}</tr>"


def _shown(value: float | None, show: Callable[[float], str]) -> str:
    return "" if value is None else show(value)


def _plots(comparison: Comparison) -> str:
    from matplotlib import rc_context
    from matplotlib.figure import Figure  # no pyplot: it would look for a display

    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "manta", "font.size": 9}):
        figure = Figure(figsize=(11, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        _scatter(left, comparison, lambda row: row.latency_ms.get("1"), "ms for one image, one thread")
        _scatter(right, comparison, lambda row: None if row.bytes is None else row.bytes / 1000, "size, kB")
        left.set_ylabel("test accuracy, %")
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg")
    return drawn.getvalue()[drawn.getvalue().index("<svg") :]


def _scatter(panel: Axes, comparison: Comparison, cost: Callable[[Row], float | None], label: str) -> None:
    """Every format, and a line through those that no other one beats."""
    best = front(comparison, cost)
    panel.plot(
        [cost(row) or 0.0 for row in best], [100 * (row.accuracy or 0) for row in best], color="tab:orange", zorder=1
    )
    named: list[tuple[float, float, list[str]]] = []
    points = [
        (value, 100 * row.accuracy, row)
        for row in comparison.rows
        if (value := cost(row)) is not None and row.accuracy is not None
    ]
    for value, accuracy, row in sorted(points, key=lambda point: point[:2]):
        panel.scatter(value, accuracy, color="tab:orange" if row in best else "tab:blue", s=28, zorder=2)
        for x, y, names in named:
            if value < 1.4 * x and abs(accuracy - y) < 0.1:  # their labels would lie over each other
                names.append(row.label)
                break
        else:
            named.append((value, accuracy, [row.label]))
    for value, accuracy, names in named:
        panel.annotate(
            "\n".join(names), (value, accuracy), xytext=(6, -4), textcoords="offset points", fontsize=7, va="top"
        )
    panel.set_xscale("log")
    panel.margins(x=0.2, y=0.2)
    panel.set_xlabel(label)
    panel.grid(alpha=0.3)
