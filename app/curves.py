"""Loss and accuracy curves of a training run, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from app.checkpoint import EpochReport, best_epoch


def draw_curves(history: Sequence[EpochReport], path: Path, title: str) -> None:
    """Writes a PNG with loss and accuracy of both splits over the epochs; the best epoch is marked."""
    from matplotlib.figure import Figure  # no pyplot: it would look for a display

    epochs = [report.epoch for report in history]
    best = best_epoch(history)
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    figure.suptitle(title)
    for axes, quantity in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for split, colour in (("train", "tab:blue"), ("val", "tab:orange")):
            values = [getattr(report, f"{split}_{quantity}") for report in history]
            axes.plot(epochs, values, color=colour, marker="." if len(epochs) < 40 else "", label=split)
        axes.axvline(best.epoch, color="0.6", linestyle=":", label=f"best epoch ({best.epoch})")
        axes.set(xlabel="epoch", ylabel=quantity)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=120)
