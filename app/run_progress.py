"""How far a training run has come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.checkpoint import EpochReport


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProgress:
    """Logged to MLflow with every epoch, under these names: listing runs reads no histories."""

    epochs_done: int
    best_epoch: int
    best_val_accuracy: float
    """Of the best epoch, 0 to 1."""
    train_seconds: float
    """Of all epochs, training alone."""
    mean_images_per_second: float

    @classmethod
    def of(cls, history: Sequence[EpochReport]) -> RunProgress:
        """history: at least one epoch."""
        from app.checkpoint import best_epoch  # imports torch: seconds that reading a run should not take

        best, seconds = best_epoch(history), sum(report.seconds for report in history)
        images = sum(report.images_per_second * report.seconds for report in history)
        return cls(
            epochs_done=history[-1].epoch,
            best_epoch=best.epoch,
            best_val_accuracy=best.val_accuracy,
            train_seconds=seconds,
            mean_images_per_second=images / max(seconds, 1e-9),
        )
