"""What is read off a training's history."""

from __future__ import annotations

import pytest

from app.checkpoint import EpochReport
from benchmarks.timed_training import TimedTraining


def epoch(number: int, *, ended: float, seconds: float, share: float) -> EpochReport:
    return EpochReport(
        epoch=number,
        lr=0.1,
        train_loss=1.0,
        train_accuracy=0.5,
        val_loss=1.0,
        val_accuracy=0.5,
        seconds=seconds,
        images_per_second=1.0,
        compute_share=share,
        ended=ended,
    )


def test_the_first_epoch_is_left_out_and_the_rest_is_taken_whole() -> None:
    timed = TimedTraining(
        submitted=100.0,
        history=[
            epoch(1, ended=120.0, seconds=8.0, share=0.5),
            epoch(2, ended=125.0, seconds=3.0, share=0.9),
            epoch(3, ended=129.0, seconds=3.0, share=0.8),
        ],
    )
    assert timed.epoch_seconds == [5.0, 4.0]
    assert timed.compute_shares == [0.9, 0.8]
    assert timed.startup_seconds == pytest.approx(12.0)
