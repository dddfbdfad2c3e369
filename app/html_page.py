"""A report as one HTML file without anything from elsewhere, so that it can be mailed or logged to MLflow."""

from __future__ import annotations

import html
import io
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2430; background: #fff; margin: 2rem auto; max-width: 82rem;
  padding: 0 1rem; }
h1 { font-size: 1.4rem; margin-bottom: 0.2rem; }
h2 { font-size: 1.1rem; margin: 2rem 0 0.4rem; }
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


def page(title: str, *parts: str) -> str:
    """parts: HTML that follows the heading."""
    name, body = html.escape(title), "\n".join(parts)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{name}</title><style>{STYLE}</style></head><body>
<h1>{name}</h1>
{body}
</body></html>
"""


def heading(text: str) -> str:
    return f"<h2>{html.escape(text)}</h2>"


def paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"


def table(head: Sequence[str], rows: Iterable[str]) -> str:
    """rows: what `table_row` makes. It scrolls by itself where the window is narrow."""
    names = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    return f'<div class="scroll"><table><thead><tr>{names}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def table_row(cells: Sequence[str], *, in_front: bool = False) -> str:
    inner = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
    return f'<tr class="front">{inner}</tr>' if in_front else f"<tr>{inner}</tr>"


def reason_row(name: str, reason: str, columns: int) -> str:
    """Instead of figures, why there are none. columns: besides the name's."""
    return f'<tr><td>{html.escape(name)}</td><td class="reason" colspan="{columns}">{html.escape(reason)}</td></tr>'


def drawing(width: float, height: float, draw: Callable[[Figure], object]) -> str:
    """What `draw` puts on a figure of that size, in inches, as an inline SVG."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure  # no pyplot: it would look for a display

    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "manta", "font.size": 9}):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg")
    return drawn.getvalue()[drawn.getvalue().index("<svg") :]
