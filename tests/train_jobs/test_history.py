"""What a driver hears of its epochs, also when it cannot record them for a while."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from app.atomic_file import write_atomically
from app.checkpoint import EpochReport
from app.errors import MantaError
from app.settings import TrainSettings
from tests.app.epochs import epoch_report
from tests.waiting import wait_for
from train_jobs import history
from train_jobs.history import HistoryFollower
from train_jobs.runs import Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path, TrainSettings(epochs=9), "tracking")


def write(run: Run, epochs: int) -> None:
    """As rank 0 does after an epoch."""
    reports = [epoch_report(epoch) for epoch in range(1, epochs + 1)]
    write_atomically(run.history_file, json.dumps([asdict(report) for report in reports]))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of every look at a history, how many epochs it had."""
    reads: list[int] = []
    real = Run.history

    def history(run: Run) -> list[EpochReport]:
        reports = real(run)
        reads.append(len(reports))
        return reports

    monkeypatch.setattr(Run, "history", history)
    return reads


def test_each_epoch_is_heard_once(run: Run, reads: list[int]) -> None:
    """A worker that is replaced may train epochs again that were heard of before."""
    heard: list[int] = []
    write(run, 2)
    with HistoryFollower(run, lambda report: heard.append(report.epoch)):
        write(run, 5)
        wait_for(lambda: len(heard) == 3)
        write(run, 4)
        wait_for(lambda: 4 in reads)
        write(run, 6)
    assert heard == [3, 4, 5, 6]


def test_what_was_not_recorded_before_is_heard_now(run: Run) -> None:
    heard: list[int] = []
    write(run, 3)
    with HistoryFollower(run, lambda report: heard.append(report.epoch), after=1):
        pass
    assert heard == [2, 3]


def test_an_epoch_that_cannot_be_recorded_is_tried_again(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(history, "RETRY_INTERVAL_S", 0.0)
    heard: list[int] = []
    failures = 2

    def record(report: EpochReport) -> None:
        nonlocal failures
        if report.epoch == 2 and failures:
            failures -= 1
            raise MantaError("the registry is away")
        heard.append(report.epoch)

    with HistoryFollower(run, record):
        write(run, 3)
        wait_for(lambda: len(heard) >= 3)
        assert heard == [1, 2, 3]
    assert "training goes on, but epoch 2 is not recorded yet: the registry is away" in capsys.readouterr().out


def test_an_epoch_that_is_never_recorded_is_an_error_in_the_end(run: Run) -> None:
    def fail(_report: EpochReport) -> None:
        raise MantaError("the registry is away")

    with pytest.raises(MantaError, match="away"), HistoryFollower(run, fail):
        write(run, 1)
    with pytest.raises(ValueError, match="the first error"), HistoryFollower(run, fail, after=0):
        raise ValueError("the first error")
