"""What the loop offers beyond plain epochs: each setting does what it says, and an interruption changes nothing."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from app.datasets import Dataset
from app.errors import BadInput, Diverged
from app.settings import FitSettings
from app.train_state import TrainState
from app.training import Hooks, fit
from app.training_loop import TrainingLoop, step_seed
from tests.app.compared import equal_weights, outcome
from tests.app.tiny_data import colour_dataset

pytestmark = pytest.mark.usefixtures("single_thread")

CPU = torch.device("cpu")
SETTINGS = FitSettings(epochs=3, batch_size=8, seed=3)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return colour_dataset()


def settings(**changed: Any) -> FitSettings:
    return dataclasses.replace(SETTINGS, **changed)


@pytest.mark.parametrize(
    "changed",
    [
        {"optimizer": "sgd"},
        {"optimizer": "muon"},
        {"schedule": "one_cycle"},
        {"schedule": "plateau", "lr": 2e-3},
        {"ema": 0.99},
        {"clip": 1.0},
        {"accumulate": 3},
        {"mixup": 0.2},
        {"cutmix": 0.2},
        {"cutout": 0.25, "rotate": 0.0},
        {"recompute": True},
    ],
    ids=str,
)
def test_every_way_of_training_learns(dataset: Dataset, changed: dict[str, Any]) -> None:
    state = fit(settings(epochs=20, **changed), dataset, device=CPU)
    assert state.best.val_accuracy > 0.8
    assert state.history[-1].val_loss < state.history[0].val_loss


def test_a_batch_in_parts_is_nearly_the_same_step(dataset: Dataset) -> None:
    """Batch normalization sees the parts by themselves; without augmentation the rest is equal."""
    plain = settings(shift=0, rotate=0, colour=0, dropout=0.0, epochs=1, lr=1e-4)
    whole, parts = (fit(dataclasses.replace(plain, accumulate=n), dataset, device=CPU) for n in (1, 2))
    assert parts.history[0].train_loss == pytest.approx(whole.history[0].train_loss, rel=0.1)
    assert parts.history[0].train_loss != whole.history[0].train_loss


def test_parts_cover_the_batch_and_none_has_a_single_image() -> None:
    from app.objective import Batch

    for count in (2, 3, 5, 8, 9):
        batch = Batch(torch.arange(count).numpy(), torch.zeros(count), torch.arange(count), torch.arange(count))
        loop = TrainingLoop.__new__(TrainingLoop)
        loop.settings = settings(accumulate=4)
        parts = list(loop._parts(batch))
        assert torch.cat([part.labels for part in parts]).tolist() == list(range(count))
        assert min(map(len, parts)) >= 2


def test_recomputing_changes_nothing_but_memory(dataset: Dataset) -> None:
    plain = settings(epochs=2, dropout=0.0)
    kept, again = (fit(dataclasses.replace(plain, recompute=value), dataset, device=CPU) for value in (False, True))
    assert outcome(again) == outcome(kept)
    assert all(
        torch.equal(value, again.model.state_dict()[name])
        for name, value in kept.model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    )


def test_clipping_limits_the_gradient(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    norms = []
    step = torch.optim.AdamW.step

    def watched(self: torch.optim.AdamW, *args: Any) -> Any:
        gradients = [p.grad.flatten() for group in self.param_groups for p in group["params"]]
        norms.append(float(torch.cat(gradients).norm()))
        return step(self, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    fit(settings(epochs=1, clip=0.01), dataset, device=CPU)
    assert max(norms) <= 0.01001


def test_early_stopping(dataset: Dataset) -> None:
    """A learning rate that changes nothing: the first epoch stays the best."""
    due: list[bool] = []
    still = settings(epochs=50, lr=1e-12, patience=2, checkpoint_epochs=100, warmup=0.0)
    state = fit(still, dataset, device=CPU, hooks=Hooks(on_epoch=lambda _, is_due: due.append(is_due)))
    assert state.epoch == state.best.epoch + 2
    assert due == [False] * (state.epoch - 1) + [True], "the last epoch is kept, early or not"


def test_a_plateau_is_seen_in_the_rate(dataset: Dataset) -> None:
    state = fit(settings(epochs=6, lr=1e-9, schedule="plateau", plateau_patience=1, warmup=0.0), dataset, device=CPU)
    assert state.history[-1].lr < 1e-10


def test_checkpoints_are_due_every_so_many_epochs_and_at_the_end(dataset: Dataset) -> None:
    due: dict[int, bool] = {}

    def note(state: TrainState, is_due: bool) -> None:
        due[state.epoch] = is_due

    fit(settings(epochs=5, checkpoint_epochs=2), dataset, device=CPU, hooks=Hooks(on_epoch=note))
    assert due == {1: False, 2: True, 3: False, 4: True, 5: True}


@pytest.mark.parametrize(
    "changed", [{}, {"ema": 0.9, "optimizer": "muon"}, {"mixup": 0.3, "schedule": "plateau"}], ids=str
)
def test_a_run_goes_on_in_mid_epoch_as_if_nothing_had_been(
    dataset: Dataset, tmp_path: Path, changed: dict[str, Any]
) -> None:
    every_step = settings(checkpoint_minutes=1e-9, **changed)
    kept: list[Path] = []

    def keep(state: TrainState) -> None:
        kept.append(tmp_path / f"{state.epoch}-{state.progress.step}.pt")
        state.save(kept[-1])

    whole = fit(every_step, dataset, device=CPU, hooks=Hooks(on_checkpoint=keep))
    assert "1-3.pt" in {path.name for path in kept}
    seen = []
    resumed = fit(
        every_step,
        dataset,
        device=CPU,
        resume=tmp_path / "1-3.pt",
        hooks=Hooks(on_epoch=lambda state, _: seen.append(state.epoch)),
    )
    assert seen == [2, 3]
    assert outcome(resumed) == outcome(whole)
    assert equal_weights(resumed.model.state_dict(), whole.model.state_dict())
    assert equal_weights(resumed.best_weights, whole.best_weights)


def test_no_checkpoint_within_an_epoch_before_it_is_due(dataset: Dataset) -> None:
    fit(SETTINGS, dataset, device=CPU, hooks=Hooks(on_checkpoint=lambda _: pytest.fail("too early")))


def test_a_loss_that_is_no_number_stops_within_the_epoch(dataset: Dataset) -> None:
    seen = []
    with pytest.raises(Diverged, match="diverged: the loss of epoch 1 is "):
        fit(
            settings(epochs=2, lr=1e20, warmup=0.0),
            dataset,
            device=CPU,
            hooks=Hooks(on_epoch=lambda state, _: seen.append(state.epoch)),
        )
    assert seen == []


def test_figures_of_the_clock(dataset: Dataset) -> None:
    report = fit(settings(epochs=1), dataset, device=CPU).history[0]
    assert 0 < report.compute_share < 1
    assert 0 < report.cpu_seconds < 1.5 * report.seconds, "one thread"
    assert report.workers == 1
    assert report.ended > 1.7e9


def test_the_best_batch_size_is_measured(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.training.fastest_batch_size", lambda _model, _size, count, _device: {48: 12}[count])
    steps: set[int] = set()
    step = TrainingLoop._step

    def watched(self: TrainingLoop, batch: Any) -> Any:
        steps.add(len(batch))
        return step(self, batch)

    monkeypatch.setattr(TrainingLoop, "_step", watched)
    fit(settings(epochs=1, batch_size="auto"), dataset, device=CPU)
    assert steps == {12}


@pytest.mark.minutes
@pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++"))), reason="torch.compile needs a C++ compiler")
def test_a_compiled_network_learns_the_same(dataset: Dataset) -> None:
    plain = settings(epochs=2, dropout=0.0, model="mobile")
    one, other = (fit(dataclasses.replace(plain, compile=value), dataset, device=CPU) for value in (False, True))
    assert other.history[-1].train_loss == pytest.approx(one.history[-1].train_loss, rel=1e-2)
    assert one.model.state_dict().keys() == other.model.state_dict().keys(), "a checkpoint does not tell"


def test_no_compiler_is_said_at_once(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(BadInput, match=r"--compile needs a C\+\+ compiler"):
        fit(settings(compile=True), dataset, device=CPU)


def test_dropout_is_seeded_by_step() -> None:
    assert len({step_seed(seed, epoch, step) for seed in range(2) for epoch in range(2) for step in range(2)}) == 8
