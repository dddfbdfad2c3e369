"""The loop learns, repeats itself exactly, and goes on after an interruption as if there had been none."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from app import checkpoint
from app.checkpoint import read_model
from app.datasets import Dataset
from app.errors import BadInput, BrokenBundle, Diverged, NotFound
from app.precision import autocast
from app.settings import FitSettings
from app.train_state import TrainState
from app.training import Hooks, fit, new_model
from tests.app.compared import equal_weights, outcome
from tests.app.image_trees import class_files, write_tree
from tests.app.tiny_data import colour_dataset

pytestmark = pytest.mark.usefixtures("single_thread")

CPU = torch.device("cpu")
SETTINGS = FitSettings(epochs=24, batch_size=16, seed=3)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return colour_dataset()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("training")


@pytest.fixture(scope="module")
def trained(dataset: Dataset, folder: Path) -> TrainState:
    """A whole run; every epoch left its state as `<epoch>.pt`."""
    hooks = Hooks(on_epoch=lambda state, _: state.save(folder / f"{state.epoch}.pt"))
    return fit(SETTINGS, dataset, device=CPU, hooks=hooks)


def test_a_separable_problem_is_learned(trained: TrainState) -> None:
    first, last = trained.history[0], trained.history[-1]
    assert last.train_loss < 0.7 * first.train_loss
    assert last.val_loss < first.val_loss
    assert last.val_accuracy == 1.0
    assert [report.epoch for report in trained.history] == list(range(1, 25))
    assert trained.epoch == 24


def test_figures_of_an_epoch(trained: TrainState) -> None:
    for report in trained.history:
        assert (report.train_accuracy * 48) == pytest.approx(round(report.train_accuracy * 48))
        assert (report.val_accuracy * 21) == pytest.approx(round(report.val_accuracy * 21))
        assert report.images_per_second * report.seconds == pytest.approx(48)
    assert trained.history[0].lr < SETTINGS.peak_lr
    assert trained.schedule.lr == pytest.approx(0, abs=1e-9)


def test_best_is_the_highest_accuracy_and_then_the_lowest_loss(trained: TrainState) -> None:
    best = max(report.val_accuracy for report in trained.history)
    among = [report for report in trained.history if report.val_accuracy == best]
    assert trained.best == min(among, key=lambda report: report.val_loss)


def test_the_same_seed_gives_the_same_run(trained: TrainState, dataset: Dataset) -> None:
    torch.manual_seed(999)  # the state of the process does not matter
    again = fit(SETTINGS, dataset, device=CPU)
    assert outcome(again) == outcome(trained)
    assert equal_weights(again.model.state_dict(), trained.model.state_dict())


def test_another_seed_gives_another_run(trained: TrainState, dataset: Dataset) -> None:
    other = fit(dataclasses.replace(SETTINGS, epochs=1, seed=4), dataset, device=CPU)
    assert outcome(other) != outcome(trained)[:1]


def test_a_resumed_run_is_exactly_the_uninterrupted_one(trained: TrainState, dataset: Dataset, folder: Path) -> None:
    torch.manual_seed(999)
    epochs = []
    resumed = fit(
        SETTINGS,
        dataset,
        device=CPU,
        resume=folder / "5.pt",
        hooks=Hooks(on_epoch=lambda state, _: epochs.append(state.epoch)),
    )
    assert epochs == list(range(6, 25))
    assert outcome(resumed) == outcome(trained)
    assert equal_weights(resumed.model.state_dict(), trained.model.state_dict())


def test_a_resumed_run_keeps_the_batch_size_that_was_measured(
    trained: TrainState, dataset: Dataset, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured again it could be another one, and the learning rate follows steps of the first."""
    monkeypatch.setattr("app.training.fastest_batch_size", lambda *_: pytest.fail("measured again"))
    resumed = fit(dataclasses.replace(SETTINGS, batch_size="auto"), dataset, device=CPU, resume=folder / "5.pt")
    assert outcome(resumed) == outcome(trained)


def test_a_run_does_not_go_on_in_other_batches(trained: TrainState, dataset: Dataset, folder: Path) -> None:
    with pytest.raises(BadInput, match=r"5\.pt was trained in batches of 16, not of 8: go on with these"):
        fit(dataclasses.replace(SETTINGS, batch_size=8), dataset, device=CPU, resume=folder / "5.pt")


def _fail(state: TrainState, due: bool) -> None:
    pytest.fail("trained")


def test_a_finished_run_stays_as_it_is(trained: TrainState, dataset: Dataset, folder: Path) -> None:
    resumed = fit(SETTINGS, dataset, device=CPU, resume=folder / "24.pt", hooks=Hooks(on_epoch=_fail))
    assert outcome(resumed) == outcome(trained)
    assert equal_weights(resumed.model.state_dict(), trained.model.state_dict())


def test_the_state_is_also_a_model_that_can_be_read(trained: TrainState, folder: Path) -> None:
    card, model = read_model(folder / "24.pt")
    assert card == trained.card
    assert equal_weights(model.state_dict(), trained.model.state_dict())


def test_resuming_refuses_other_classes(folder: Path, trained: TrainState) -> None:
    other = colour_dataset(labels=("one", "two", "three"))
    with pytest.raises(BadInput, match="belongs to another model or other classes"):
        fit(SETTINGS, other, device=CPU, resume=folder / "5.pt")


def test_resuming_needs_the_whole_state(trained: TrainState, dataset: Dataset, folder: Path) -> None:
    """A bundle's checkpoint holds weights only."""
    checkpoint.save(checkpoint.weights_only(trained.card, trained.model), folder / "weights.pt")
    with pytest.raises(BrokenBundle, match=r"weights\.pt does not hold the state of a training run.*optimizer"):
        fit(SETTINGS, dataset, device=CPU, resume=folder / "weights.pt")
    with pytest.raises(NotFound, match=r"no checkpoint at .*nowhere\.pt"):
        fit(SETTINGS, dataset, device=CPU, resume=folder / "nowhere.pt")


def test_fewer_images_than_a_batch_are_one_step() -> None:
    state = fit(FitSettings(epochs=2, batch_size=64), colour_dataset(train=5, val=1), device=CPU)
    assert state.history[-1].train_accuracy * 5 == pytest.approx(round(state.history[-1].train_accuracy * 5))


def test_one_training_image_is_refused() -> None:
    with pytest.raises(BadInput, match="1 training images in batches of 8 are too few for 1 workers"):
        fit(FitSettings(epochs=1), colour_dataset(train=1), device=CPU)


def test_images_that_are_too_small_are_refused() -> None:
    with pytest.raises(BadInput, match="at least 8x8"):
        fit(FitSettings(epochs=1), colour_dataset(size=(7, 8)), device=CPU)


def test_a_run_that_diverges_stops_and_says_so(dataset: Dataset) -> None:
    with pytest.raises(Diverged, match=r"diverged: the loss of epoch \d is (nan|inf); try a lower --lr"):
        fit(FitSettings(epochs=3, batch_size=16, lr=1e20), dataset, device=CPU)


def test_normalization_is_that_of_the_training_images(dataset: Dataset) -> None:
    model = new_model(SETTINGS, dataset, CPU)
    assert model.mean.flatten().tolist() == pytest.approx(dataset.train.images.mean((0, 1, 2)), rel=1e-5)
    assert model.std.flatten().tolist() == pytest.approx(dataset.train.images.std((0, 1, 2)), rel=1e-5)


def test_epochs_follow_the_size_of_the_data_unless_given(monkeypatch: pytest.MonkeyPatch, dataset: Dataset) -> None:
    monkeypatch.setattr("app.batches.default_epochs", lambda count, batch: {(48, 16): 2}[count, batch])
    assert fit(FitSettings(batch_size=16), dataset, device=CPU).epoch == 2


@pytest.mark.parametrize(
    ("device", "model", "fast", "expected"),
    [
        ("cpu", "custom_cnn", False, None),
        ("cpu", "custom_cnn", True, torch.bfloat16),
        ("cpu", "mobile", True, None),
        ("cpu", "torchvision:mobilenet_v2", True, None),
        ("cuda", "custom_cnn", False, None),
        ("cuda", "mobile", True, torch.bfloat16),
    ],
)
@pytest.mark.parametrize("instructions", ["avx512_bf16", "amx_tile"])
def test_auto_precision_is_bf16_where_that_is_faster(
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    model: str,
    fast: bool,
    expected: torch.dtype | None,
    instructions: str,
) -> None:
    for each in ("avx512_bf16", "amx_tile"):
        has_it = fast and device == "cpu" and each == instructions
        monkeypatch.setattr(torch.cpu, f"_is_{each}_supported", lambda has_it=has_it: has_it)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: fast and device == "cuda")
    asked: dict[str, Any] = {}

    def spy(device_type: str, **options: Any) -> contextlib.nullcontext[None]:
        asked.update(options, device=device_type)
        return contextlib.nullcontext()

    monkeypatch.setattr(torch, "autocast", spy)
    autocast("auto", torch.device(device), model)
    assert asked["device"] == device
    assert asked["enabled"] is (expected is not None)
    if expected:
        assert asked["dtype"] == expected


@pytest.mark.parametrize(
    ("precision", "expected"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_a_precision_that_is_asked_for_is_used(precision: str, expected: torch.dtype) -> None:
    context = autocast(precision, CPU, "custom_cnn")
    for _ in range(2):  # one context serves every step
        with context:
            assert torch.nn.functional.linear(torch.ones(2, 2), torch.ones(2, 2)).dtype == expected
    assert torch.nn.functional.linear(torch.ones(2, 2), torch.ones(2, 2)).dtype == torch.float32


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_learns_too(dataset: Dataset, precision: str) -> None:
    state = fit(FitSettings(epochs=24, batch_size=16, precision=precision), dataset, device=CPU)
    assert state.scaler.is_enabled() is (precision == "fp16")
    assert state.best.val_accuracy > 0.8
    assert {weight.dtype for weight in state.model.parameters()} == {torch.float32}


def run_module(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app.training", *arguments],
        env={**os.environ, "MANTA_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_command_line(tmp_path: Path) -> None:
    pets = write_tree(tmp_path / "pets", class_files("", {"cat": 10, "dog": 10}))
    arguments = ("--data", str(pets), "--batch-size", "4", "--out", str(tmp_path / "out"))
    first = run_module(tmp_path / "home", *arguments, "--epochs", "1")
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("epoch   1  loss ")
    assert f"in {tmp_path / 'out' / 'best.pt'}" in first.stdout.splitlines()[-1]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["best.pt", "curves.png", "last.pt"]
    assert read_model(tmp_path / "out" / "best.pt")[0].labels == ("cat", "dog")

    second = run_module(tmp_path / "home", *arguments, "--epochs", "2", "--resume")
    assert second.returncode == 0, second.stderr
    assert second.stdout.startswith("epoch   2  loss ")
    assert checkpoint.load(tmp_path / "out" / "last.pt")["epoch"] == 2


def test_the_command_line_says_in_one_line_what_is_wrong(tmp_path: Path) -> None:
    failed = run_module(tmp_path / "home", "--data", str(tmp_path / "nothing"), "--out", str(tmp_path / "out"))
    assert failed.returncode == 2
    assert failed.stderr.startswith("error: ")
    assert failed.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
