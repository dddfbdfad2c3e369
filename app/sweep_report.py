"""What came out of a sweep: a row for each trial, and plots of accuracy against cost and against settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS_A_ROW = 3
MAX_SETTINGS = 7
"""Panels of settings beside the two of cost."""
LOG_FROM = 20
"""Values that are this many times as large as others get a logarithmic axis."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRow:
    """One trial. Figures of a failed one are None."""

    trial: str
    settings: dict[str, Any]
    """Those that were varied."""
    status: str
    """finished, stopped or failed."""
    reason: str = ""
    epochs: int = 0
    val_accuracy: float | None = None
    score: float | None = None
    """`EpochReport.score` of its best epoch."""
    parameters: int | None = None
    latency_ms: float | None = None
    """Median of one image, ONNX Runtime, one thread."""
    seconds: float | None = None
    """Of training alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepReport:
    """Rows from the best trial to the worst, failed ones last."""

    name: str
    data: str
    rows: tuple[TrialRow, ...] = field(default_factory=tuple)

    @property
    def best(self) -> TrialRow:
        return self.rows[0]

    def to_json(self) -> dict[str, Any]:
        return {"sweep": self.name, "data": self.data, "trials": [asdict(row) for row in self.rows]}


def ranked(rows: Sequence[TrialRow]) -> tuple[TrialRow, ...]:
    return tuple(sorted(rows, key=lambda row: -1.0 if row.score is None else row.score, reverse=True))


def draw_report(report: SweepReport, path: Path) -> None:
    """Writes a PNG: validation accuracy against parameters, latency, and each setting that was varied."""
    from matplotlib.figure import Figure

    rows = [row for row in report.rows if row.val_accuracy is not None]
    names = list(report.best.settings)[:MAX_SETTINGS]
    count = 2 + len(names)
    across = min(count, PANELS_A_ROW)
    down = -(-count // across)
    figure = Figure(figsize=(4.2 * across, 3.4 * down), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False).ravel().tolist()
    _scatter(panels[0], rows, [row.parameters for row in rows], "parameters")
    _scatter(panels[1], rows, [row.latency_ms for row in rows], "ms for one image, ONNX Runtime, one thread")
    for panel, name in zip(panels[2:], names, strict=False):
        _scatter(panel, rows, [row.settings[name] for row in rows], name.replace("_", " "))
    for panel in panels[count:]:
        panel.set_axis_off()
    marks = "orange: the best; hollow: stopped early"
    figure.suptitle(f"{report.name}: {len(report.rows)} trials on {report.data} ({marks})", fontsize="medium")
    figure.savefig(path, dpi=120)


def _scatter(panel: Axes, rows: Sequence[TrialRow], values: Sequence[Any], label: str) -> None:
    """Finished trials filled, stopped ones hollow, the best in another colour."""
    from matplotlib.ticker import EngFormatter, MaxNLocator

    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    shown = list(values) if numbers else [str(value) for value in values]
    for number, (row, value) in reversed(list(enumerate(zip(rows, shown, strict=True)))):
        colour = "tab:orange" if number == 0 else "tab:blue"
        panel.scatter(
            [value],
            [100 * (row.val_accuracy or 0)],
            facecolors=colour if row.status == "finished" else "none",
            edgecolors=colour,
            s=60 if number == 0 else 30,
        )
    if numbers and min(values) > 0 and max(values) / min(values) > LOG_FROM:
        panel.set_xscale("log")
    elif numbers:
        panel.xaxis.set_major_locator(MaxNLocator(5))
        if max(values) >= 1000:
            panel.xaxis.set_major_formatter(EngFormatter(sep=""))
    panel.set_xlabel(label)
    panel.set_ylabel("validation accuracy, %")
    panel.grid(alpha=0.3)
