"""What the driver takes out of storage, and what it does not take over."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ray.train import Checkpoint

from app.checkpoint import STATE_FILE, read_model
from app.errors import BadInput
from app.settings import FitSettings, TrainSettings
from app.train_state import TrainState
from app.training import fit
from app.training_loop import Hooks
from tests.app.tiny_data import colour_dataset, one_thread
from train_jobs.ray_training import fetch_checkpoint, require_unused
from train_jobs.runs import Run


def stored(folder: Path, *, epochs: int) -> Checkpoint:
    """A checkpoint within the first epoch, or at the end of the last."""

    def keep(state: TrainState) -> None:
        if len(state.history) == epochs:
            state.save(folder / STATE_FILE)

    settings = FitSettings(epochs=max(1, epochs), batch_size=4, checkpoint_minutes=1e-9)
    with one_thread():
        hooks = Hooks(on_checkpoint=keep, on_epoch=lambda state, _: keep(state))
        fit(settings, colour_dataset(), device=torch.device("cpu"), hooks=hooks)
    return Checkpoint(str(folder))


def new_run(folder: Path) -> Run:
    folder.mkdir()
    return Run(folder, TrainSettings(), "tracking")


def test_an_epoch_that_only_the_state_knows_is_in_the_history(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    fetch_checkpoint(stored(tmp_path / "stored", epochs=2), run)
    assert [report.epoch for report in run.history()] == [1, 2]
    assert read_model(run.best_checkpoint)[0].architecture == "custom_cnn"
    assert {path.name for path in run.folder.iterdir()} == {"history.json", "best.pt", "last.pt"}


def test_a_state_within_the_first_epoch_is_kept_though_nothing_is_best(tmp_path: Path) -> None:
    """With --checkpoint-epochs 5 the history may be longer: a run that diverges then ends with what there is."""
    run = new_run(tmp_path / "run")
    fetch_checkpoint(stored(tmp_path / "stored", epochs=0), run)
    assert run.last_checkpoint.is_file()
    assert not run.best_checkpoint.exists()


def test_the_storage_of_another_run_is_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / "nightly").mkdir()
    require_unused(str(tmp_path), "other")
    require_unused(f"file://{tmp_path}", "other")
    for storage in (str(tmp_path), f"file://{tmp_path}"):
        with pytest.raises(BadInput, match="holds a run 'nightly' already: choose another --run"):
            require_unused(storage, "nightly")
    with pytest.raises(BadInput, match="--storage nonsense://bucket cannot be used"):
        require_unused("nonsense://bucket", "nightly")
