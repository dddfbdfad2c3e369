"""What becomes of a job when MLflow cannot be told how it ended."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any, cast

import pytest

from app.config import Home
from app.errors import Diverged, MantaError
from app.registry import Registry
from app.settings import SweepSettings
from train_jobs import sweep as sweep_job
from train_jobs.job import recorded
from train_jobs.sweeps import Sweep, open_sweep


class Deaf:
    """A registry that opens runs and then is gone."""

    tracking_uri = "http://gone"

    def reopen_run(self, run_id: str) -> None:
        pass

    def _gone(self, *_args: Any) -> None:
        raise MantaError("http://gone does not answer")

    end_run = end_children = log_file = log_metrics = _gone


def deaf() -> Registry:
    return cast(Registry, Deaf())


@pytest.mark.parametrize("error", [Diverged("the loss is nan"), KeyboardInterrupt(), ValueError("a bug")])
def test_a_failure_stays_itself(error: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(type(error)) as raised, recorded("run", deaf()):
        raise error
    assert raised.value is error
    assert "http://gone does not answer" in capsys.readouterr().out


def test_a_success_stays_one(capsys: pytest.CaptureFixture[str]) -> None:
    with recorded("run", deaf()):
        pass
    assert capsys.readouterr().out == "MLflow did not hear that the run is finished: http://gone does not answer\n"


@pytest.fixture
def sweep(home: Home, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    """A new one, whose trials and report cost nothing."""
    new = Sweep(home.sweeps / "mine", SweepSettings(), "run", "digest")
    new.save()
    monkeypatch.setattr(sweep_job, "Registry", lambda _home: deaf())
    monkeypatch.setattr(sweep_job, "dataset_to_train_on", lambda *_args, **_options: None)
    monkeypatch.setattr(sweep_job, "start_sweep", lambda *_args: new)
    monkeypatch.setattr(sweep_job, "system_metrics", lambda *_args: contextlib.nullcontext())
    monkeypatch.setattr(sweep_job, "tuned", lambda *_args: [])
    monkeypatch.setattr(
        sweep_job, "make_report", lambda *_args: SimpleNamespace(best=SimpleNamespace(val_accuracy=0.9))
    )
    return new


def test_a_finished_sweep_ends_well(sweep: Sweep, home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    sweep_job.run_sweep(SweepSettings(), home)
    assert open_sweep(home, sweep.name).finished
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("MLflow did not hear") for line in lines)


def test_an_interrupted_sweep_is_interrupted(sweep: Sweep, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep_job, "tuned", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sweep_job.run_sweep(SweepSettings(), home)
    assert not open_sweep(home, sweep.name).finished


def test_only_what_manta_raises_is_said() -> None:
    """A bug in the registry is seen."""

    class Broken(Deaf):
        def end_run(self, *_args: Any) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), recorded("run", cast(Registry, Broken())):
        pass
