"""Two processes over gloo, as Ray Train starts them: one model, every image once, and an exact resume."""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import distributed, nn

from app import parallel, training_loop
from app.augment import Draws, draw
from app.batches import DeviceSplit
from app.errors import BadInput
from app.precision import autocast
from app.settings import FitSettings
from app.train_state import TrainState
from app.training import Hooks, fit, new_model
from app.validation import evaluate
from tests.app.compared import outcome
from tests.app.tiny_data import colour_dataset

WORLD = 2
VAL = 21
SETTINGS = FitSettings(epochs=3, batch_size=16, precision="fp32")
CPU = torch.device("cpu")


@dataclass
class Witness:
    """What one process saw and ended with."""

    history: list[dict[str, Any]] = field(default_factory=list)
    weights: dict[str, torch.Tensor] = field(default_factory=dict)
    resumed_history: list[dict[str, Any]] = field(default_factory=list)
    resumed_weights: dict[str, torch.Tensor] = field(default_factory=dict)
    train_rows: list[int] = field(default_factory=list)
    val_rows: list[int] = field(default_factory=list)
    augmentation: list[list[float]] = field(default_factory=list)
    dropout: list[int] = field(default_factory=list)
    own_statistics: list[torch.Tensor] = field(default_factory=list)
    averaged_statistics: list[torch.Tensor] = field(default_factory=list)
    summed: float = 0
    refused: str = ""


def process(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=WORLD)
    witness = Witness()
    assert (parallel.rank(), parallel.world_size()) == (rank, WORLD)
    witness.summed = parallel.sum_over_processes(torch.tensor(float(rank + 1))).item()
    watch(witness)
    hooks = Hooks(on_epoch=lambda state, _: keep(state, rank, folder))
    state = fit(SETTINGS, colour_dataset(val=VAL), device=CPU, hooks=hooks)
    witness.history, witness.weights = outcome(state), state.model.state_dict()
    distributed.barrier()
    resumed = fit(SETTINGS, colour_dataset(val=VAL), device=CPU, resume=folder / "1.pt")
    witness.resumed_history, witness.resumed_weights = outcome(resumed), resumed.model.state_dict()
    try:
        fit(FitSettings(epochs=1, batch_size=3), colour_dataset(), device=CPU)
    except BadInput as error:
        witness.refused = str(error)
    torch.save(witness, folder / f"witness-{rank}.pt")
    distributed.destroy_process_group()


def keep(state: TrainState, rank: int, folder: Path) -> None:
    if rank == 0:
        state.save(folder / f"{state.epoch}.pt")


def watch(witness: Witness) -> None:
    """Notes the rows of every batch, and running statistics before and after they are averaged."""
    take, set_seed = DeviceSplit.take, training_loop.seed_dropout

    def noted_take(self: DeviceSplit, index: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        (witness.val_rows if len(self) == VAL else witness.train_rows).extend(index.tolist())
        return take(self, index)

    def noted_average(model: nn.Module) -> None:
        witness.own_statistics.append(statistics(model))
        parallel.average_buffers(model)
        witness.averaged_statistics.append(statistics(model))

    def noted_draw(settings: FitSettings, index: np.ndarray, generator: np.random.Generator, **options: Any) -> Draws:
        draws = draw(settings, index, generator, **options)
        witness.augmentation.append(draws.angle.tolist())
        return draws

    def noted_seed(seed: int, device: torch.device) -> None:
        set_seed(seed, device)
        witness.dropout.append(torch.initial_seed())

    patch = pytest.MonkeyPatch()
    patch.setattr(DeviceSplit, "take", noted_take)
    patch.setattr(training_loop, "average_buffers", noted_average)
    patch.setattr(training_loop, "draw", noted_draw)
    patch.setattr(training_loop, "seed_dropout", noted_seed)


def statistics(model: nn.Module) -> torch.Tensor:
    return torch.cat([b.flatten().clone() for name, b in model.named_buffers() if "running" in name])


@pytest.fixture(scope="module")
def witnesses(tmp_path_factory: pytest.TempPathFactory) -> list[Witness]:
    folder = tmp_path_factory.mktemp("parallel")
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=process, args=(rank, folder)) for rank in range(WORLD)]
    for started in processes:
        started.start()
    for started in processes:
        started.join(timeout=120)
        if started.exitcode is None:
            started.kill()
    assert [started.exitcode for started in processes] == [0, 0]
    return [torch.load(folder / f"witness-{rank}.pt", weights_only=False) for rank in range(WORLD)]


def epoch_rows(rows: list[int], per_epoch: int, epoch: int) -> list[int]:
    return rows[epoch * per_epoch : (epoch + 1) * per_epoch]


def test_both_end_with_the_same_model_and_history(witnesses: list[Witness]) -> None:
    one, other = witnesses
    assert one.history == other.history
    assert len(one.history) == 3
    assert all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)


def test_every_validation_image_is_seen_exactly_once(witnesses: list[Witness]) -> None:
    for epoch in range(3):
        seen = [epoch_rows(w.val_rows, (11, 10)[rank], epoch) for rank, w in enumerate(witnesses)]
        assert sorted(chain(*seen)) == list(range(VAL))


def test_every_training_image_is_seen_exactly_once(witnesses: list[Witness]) -> None:
    """48 images are three global batches of 16, half of each in either process."""
    for epoch in range(3):
        assert sorted(chain(*(epoch_rows(w.train_rows, 24, epoch) for w in witnesses))) == list(range(48))


def test_running_statistics_are_averaged(witnesses: list[Witness]) -> None:
    one, other = witnesses
    for epoch in range(3):
        assert not torch.equal(one.own_statistics[epoch], other.own_statistics[epoch])
        mean = (one.own_statistics[epoch] + other.own_statistics[epoch]) / 2
        assert torch.allclose(one.averaged_statistics[epoch], mean)
        assert torch.equal(one.averaged_statistics[epoch], other.averaged_statistics[epoch])


def test_both_draw_the_same_for_the_global_batch_and_anew_in_each_step(witnesses: list[Witness]) -> None:
    one, other = (w.augmentation[:9] for w in witnesses)
    assert one == other
    assert len({tuple(angles) for angles in one}) == 9


def test_dropout_differs_between_processes_and_steps(witnesses: list[Witness]) -> None:
    one, other = (w.dropout[:9] for w in witnesses)
    assert len(set(one + other)) == 18


def test_an_interrupted_run_goes_on_exactly(witnesses: list[Witness]) -> None:
    for witness in witnesses:
        assert witness.resumed_history == witness.history
        assert all(torch.equal(witness.resumed_weights[name], witness.weights[name]) for name in witness.weights)


def test_accuracy_is_over_all_processes(witnesses: list[Witness]) -> None:
    """The model both ended with, evaluated here on all of the split."""
    dataset = colour_dataset(val=VAL)
    model = new_model(SETTINGS, dataset, CPU)
    model.load_state_dict(witnesses[0].weights)
    precision = autocast(SETTINGS.precision, CPU, SETTINGS.model)
    loss, accuracy = evaluate(model, DeviceSplit(dataset.val, CPU), precision=precision)
    last = witnesses[0].history[-1]
    assert (last["val_loss"], last["val_accuracy"]) == (pytest.approx(loss), pytest.approx(accuracy))


def test_values_are_added_up(witnesses: list[Witness]) -> None:
    assert [witness.summed for witness in witnesses] == [3, 3]


def test_a_process_with_one_image_of_a_batch_is_refused(witnesses: list[Witness]) -> None:
    """Batch normalization cannot learn from one image."""
    assert all("in batches of 3 are too few for 2 workers" in witness.refused for witness in witnesses)


def test_one_process_alone_needs_none_of_it() -> None:
    model = nn.BatchNorm2d(2)
    assert model.running_mean is not None
    model.running_mean.fill_(3)
    parallel.average_buffers(model)
    assert model.running_mean.tolist() == [3, 3]
    assert (parallel.rank(), parallel.world_size()) == (0, 1)
    assert parallel.sum_over_processes(torch.tensor(5.0)) == 5
