"""What training reports of an epoch, for tests to which most of it is all the same."""

from __future__ import annotations

import dataclasses
from typing import Any

from app.checkpoint import EpochReport


def epoch_report(number: int, **changes: Any) -> EpochReport:
    """changes: values of fields that matter."""
    usual = EpochReport(
        epoch=number,
        lr=0.1,
        train_loss=1.0,
        train_accuracy=0.5,
        val_loss=1.0,
        val_accuracy=0.5,
        seconds=1.0,
        images_per_second=1.0,
    )
    return dataclasses.replace(usual, **changes)


def history(accuracies: list[float]) -> list[EpochReport]:
    """Of a training with these validation accuracies, whose losses fall."""
    return [
        epoch_report(
            number, train_loss=2 / number, train_accuracy=accuracy / 2, val_loss=3 / number, val_accuracy=accuracy
        )
        for number, accuracy in enumerate(accuracies, 1)
    ]
