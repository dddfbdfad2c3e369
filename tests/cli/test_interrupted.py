"""What a command that was interrupted says about going on."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from app.cli.job_settings import prepared, resumable
from app.cli.output import Output
from app.settings import DistillSettings, PruneSettings, RunSettings, SweepSettings, TrainSettings
from train_jobs.runs import Run
from train_jobs.sweeps import Sweep

COMMAND = "manta what was typed"


def leave_run(folder: Path, *, command: str = COMMAND, version: str = "") -> None:
    """A run that has come to an epoch."""
    run = Run(folder, DistillSettings(teacher="photos/1", command=command), "tracking", version=version)
    run.save()
    run.history_file.write_text("[]")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Others' runs, of before."""
    leave_run(tmp_path / "theirs")
    leave_run(tmp_path / "cut-1")
    return tmp_path


def said(settings: RunSettings, folder: Path, capsys: pytest.CaptureFixture[str], *new: str) -> str:
    """When this command is interrupted after it has left these runs, of which one with `*` is finished."""
    with pytest.raises(KeyboardInterrupt), resumable(settings, folder, Output(as_json=False)):
        for name in new:
            leave_run(folder / name.removesuffix("*"), version="photos/2" if name.endswith("*") else "")
        raise KeyboardInterrupt
    return capsys.readouterr().out.strip()


@pytest.mark.parametrize("run", [None, "mine"])
def test_a_pruning_goes_on_with_the_step_it_had_come_to(
    run: str | None, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = PruneSettings(version="photos/1", run=run, command=COMMAND)
    assert said(settings, runs, capsys, "mine-1*", "mine-2").endswith("manta train --resume mine-2")


def test_a_pruning_that_was_interrupted_between_two_steps_has_nothing_to_go_on_with(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = PruneSettings(version="photos/1", run="mine", command=COMMAND)
    assert "what was registered by then is kept" in said(settings, runs, capsys, "mine-1*")
    assert "nothing is kept" in said(settings, runs, capsys)


def test_a_run_that_the_job_named_is_found(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As on a cluster that RAY_ADDRESS names."""
    settings = TrainSettings(command=COMMAND)
    assert said(settings, runs, capsys, "photos-2026").endswith("manta train --resume photos-2026")
    assert "nothing is kept" in said(settings, runs, capsys)


def test_a_run_that_another_command_makes_meanwhile_is_not_this_one_s(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = TrainSettings(command="manta another")
    assert "nothing is kept" in said(settings, runs, capsys, "photos-2026")


def test_a_named_run_is_kept_whether_it_came_further_or_not(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(TrainSettings(resume="theirs"), runs, capsys).endswith("manta train --resume theirs")
    assert said(TrainSettings(run="mine"), runs, capsys, "mine").endswith("manta train --resume mine")
    assert "nothing is kept" in said(TrainSettings(run="yours"), runs, capsys)


def test_a_sweep_that_the_job_named_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = SweepSettings(command=COMMAND)
    with pytest.raises(KeyboardInterrupt), resumable(settings, tmp_path, Output(as_json=False)):
        Sweep(tmp_path / "digits-2026", settings, "tracking").save()
        raise KeyboardInterrupt
    assert capsys.readouterr().out.strip().endswith("manta sweep --resume digits-2026")


def test_a_pruning_is_named_by_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert prepared(TrainSettings()).run is not None
    assert prepared(PruneSettings(version="photos/1")).run is None
    assert prepared(PruneSettings(version="photos/1", run="mine")).run == "mine"


def test_what_is_kept_is_what_jobs_write(tmp_path: Path) -> None:
    """The command line reads these files without importing the jobs."""
    leave_run(tmp_path / "run", version="photos/1")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["version"] == "photos/1"
    assert record["settings"] == asdict(DistillSettings(teacher="photos/1", command=COMMAND))
