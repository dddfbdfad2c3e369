"""What is read off a training's history."""

from __future__ import annotations

import pytest

from app.checkpoint import EpochReport
from benchmarks.timed_training import TimedTraining
from tests.app.epochs import epoch_report


def epoch(number: int, *, ended: float, seconds: float, share: float) -> EpochReport:
    return epoch_report(number, seconds=seconds, compute_share=share, ended=ended)


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
