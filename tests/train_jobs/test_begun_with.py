"""The weights that a run begins with, and what becomes of it when they are gone."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from app.config import Home
from app.errors import NotFound
from app.settings import TrainSettings
from tests.app.epochs import epoch_report
from tests.app.tiny_data import colour_dataset
from train_jobs import train as train_job
from train_jobs.runs import Run


class Begun(Exception):
    """Training would begin here, with these weights."""


class NoRegistry:
    tracking_uri = "sqlite:///nowhere"

    def __init__(self, _home: Home) -> None:
        pass

    def metric(self, *_args: Any) -> None:
        return None

    def reopen_run(self, *_args: Any) -> None:
        pass

    def end_run(self, *_args: Any) -> None:
        pass


@pytest.fixture
def interrupted(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run that begins with a file's weights; training ends at once, with what it was to begin with."""

    def fit(*_args: Any, initial: Path | None, **_options: Any) -> None:
        raise Begun(initial)

    monkeypatch.setattr(train_job, "Registry", NoRegistry)
    monkeypatch.setattr(train_job, "dataset_to_train_on", lambda *_args, **_options: colour_dataset())
    monkeypatch.setattr(train_job, "system_metrics", lambda *_args: contextlib.nullcontext())
    monkeypatch.setattr(train_job, "fit_on_ray", fit)
    run = Run(home.runs / "mine", TrainSettings(init=str(tmp_path / "first.pt"), epochs=3, workers="1"), "tracking")
    run.save()
    return run


def test_a_run_that_has_come_to_an_epoch_needs_them_no_more(interrupted: Run, home: Home) -> None:
    interrupted.history_file.write_text(json.dumps([asdict(epoch_report(1))]))
    with pytest.raises(Begun) as begun:
        train_job.train(TrainSettings(resume="mine"), home)
    assert begun.value.args == (None,)


def test_before_the_first_epoch_a_file_that_is_gone_is_said(interrupted: Run, home: Home) -> None:
    with pytest.raises(NotFound, match=r"the file .*/first\.pt, whose weights .* is gone"):
        train_job.train(TrainSettings(resume="mine"), home)


def test_before_the_first_epoch_they_are_taken(interrupted: Run, home: Home, tmp_path: Path) -> None:
    file = tmp_path / "first.pt"
    file.touch()
    with pytest.raises(Begun) as begun:
        train_job.train(TrainSettings(resume="mine"), home)
    assert begun.value.args == (file,)
