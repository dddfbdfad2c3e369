"""A trial that goes on from the state of another."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from ray.tune import Checkpoint

from app import checkpoint
from app.checkpoint import STATE_FILE
from app.errors import BrokenBundle
from app.settings import FitSettings, SweepSettings
from app.training import fit
from tests.app.tiny_data import colour_dataset, one_thread
from train_jobs.sweeps import Sweep
from train_jobs.trial import begin_with, newest_checkpoint

CPU = torch.device("cpu")
SETTINGS = FitSettings(epochs=2, batch_size=8)


def trained(folder: Path) -> Path:
    with one_thread():
        state = fit(SETTINGS, colour_dataset(), device=CPU)
    state.save(folder / STATE_FILE)
    return folder


def test_a_trial_takes_over_where_another_was(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path / "sweep", SweepSettings(search="pbt", epochs=4), "run")
    run = sweep.trial("t1", {"lr": 0.02})
    (run.folder / "checkpoint_1").mkdir(parents=True)
    other = trained(tmp_path / "other")
    start = begin_with(run, Checkpoint(str(other)))
    assert [report.epoch for report in run.history()] == [1, 2]
    assert not list(run.folder.glob("checkpoint_*")), "its own past is over"

    faster = FitSettings(epochs=4, batch_size=8, lr=0.5, weight_decay=0.3, warmup=0.0)
    with one_thread():
        state = fit(faster, colour_dataset(), device=CPU, resume=start)
    assert [report.epoch for report in state.history] == [1, 2, 3, 4]
    assert state.history[2].lr > 0.05, "with its own learning rate, at the other's place in the schedule"
    assert state.optimizer.param_groups[0]["weight_decay"] == 0.3


def test_the_newest_whole_checkpoint_is_handed_over(tmp_path: Path) -> None:
    run = Sweep(tmp_path, SweepSettings(search="pbt", epochs=4), "run").trial("t1", {})
    assert newest_checkpoint(run) is None
    for name, whole in (("checkpoint_2026-01", True), ("checkpoint_2026-02", True), ("checkpoint_2026-03", False)):
        (run.folder / name).mkdir(parents=True)
        if whole:
            checkpoint.save({"epoch": 1}, run.folder / name / STATE_FILE)
    found = newest_checkpoint(run)
    assert found is not None
    assert Path(found.path).name == "checkpoint_2026-02"


def test_a_state_that_is_being_written_is_not_taken_over(tmp_path: Path) -> None:
    """Ray Train copies it to its final name, and the receiving trial would lose its own past first."""
    run = Sweep(tmp_path, SweepSettings(search="pbt", epochs=4), "run").trial("t1", {})
    for name in ("checkpoint_1", "checkpoint_2"):
        (run.folder / name).mkdir(parents=True)
        checkpoint.save({"history": []}, run.folder / name / STATE_FILE)
    os.truncate(run.folder / "checkpoint_2" / STATE_FILE, 200)
    found = newest_checkpoint(run)
    assert found is not None
    assert Path(found.path).name == "checkpoint_1"
    with pytest.raises(BrokenBundle):
        begin_with(run, Checkpoint(str(run.folder / "checkpoint_2")))
    assert (run.folder / "checkpoint_1" / STATE_FILE).is_file()


def test_states_that_are_handed_over_are_kept_long_enough(tmp_path: Path) -> None:
    for search, kept, every in (("pbt", 10, 1), ("tpe", 2, 5)):
        settings = SweepSettings(search=search, checkpoint_epochs=5, epochs=9)
        run = Sweep(tmp_path, settings, "run").trial("t", {"lr": 1.0})
        assert (run.settings.keep_checkpoints, run.settings.checkpoint_epochs) == (kept, every)
        assert (run.settings.lr, run.settings.run) == (1.0, "t")
