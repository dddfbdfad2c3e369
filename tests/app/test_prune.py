"""Networks without some of their channels, or with weights at zero, and training that goes on with them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from app import checkpoint
from app.checkpoint import ModelCard, read_model
from app.datasets import Dataset
from app.errors import BadInput, BrokenBundle
from app.models import ImageClassifier, build_classifier
from app.models.summary import count_parameters
from app.prune import prunable_weights, prune_checkpoint
from app.settings import FitSettings
from app.training import fit
from tests.app.tiny_data import LABELS, colour_dataset

pytestmark = pytest.mark.usefixtures("single_thread")

CPU = torch.device("cpu")
SIZE = (32, 32)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return colour_dataset(size=SIZE)


def saved(architecture: str, folder: Path) -> Path:
    torch.manual_seed(1)
    model = build_classifier(architecture, len(LABELS), SIZE)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    card = ModelCard(architecture=architecture, labels=LABELS, input_size=SIZE)
    path = folder / f"{architecture}.pt"
    checkpoint.save(checkpoint.weights_only(card, model), path)
    return path


def answers(model: ImageClassifier) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        return model(255 * torch.rand(3, 3, *SIZE, generator=generator))


@pytest.mark.parametrize(
    "architecture", ["airbench_tiny", "custom_cnn", "dense_cnn", "mobile", "resnet20", "torchvision:resnet18"]
)
def test_a_pruned_network_is_narrower_and_comes_back_as_it_was(architecture: str, tmp_path: Path) -> None:
    pruned = prune_checkpoint(saved(architecture, tmp_path), tmp_path / "pruned.pt", share=0.5, weights=False)
    assert pruned.parameters < 0.5 * pruned.parameters_before
    card, model = read_model(tmp_path / "pruned.pt")
    assert card.pruned
    assert count_parameters(model) == pruned.parameters
    assert answers(model).shape == (3, len(LABELS))
    checkpoint.save(checkpoint.weights_only(card, model), tmp_path / "again.pt")
    assert torch.equal(answers(read_model(tmp_path / "again.pt")[1]), answers(model))


def test_what_was_not_trained_stays_whole_and_is_not_trained_afterwards(tmp_path: Path) -> None:
    """Whitening filters of noise have the largest norm: pruning by it would keep those."""
    path = saved("airbench_tiny", tmp_path)
    prune_checkpoint(path, tmp_path / "pruned.pt", share=0.5, weights=False)
    _, model = read_model(tmp_path / "pruned.pt")
    whole = read_model(path)[1].get_parameter("net.whitening.weight")
    assert torch.equal(model.get_parameter("net.whitening.weight"), whole)
    assert not model.get_parameter("net.whitening.weight").requires_grad
    assert model.get_parameter("net.head.weight").requires_grad


def test_a_pruned_network_is_pruned_again_and_trained_on(tmp_path: Path, dataset: Dataset) -> None:
    first = prune_checkpoint(saved("custom_cnn", tmp_path), tmp_path / "1.pt", share=0.3, weights=False)
    second = prune_checkpoint(tmp_path / "1.pt", tmp_path / "2.pt", share=0.3, weights=False)
    assert second.parameters < second.parameters_before == first.parameters
    settings = FitSettings(model="custom_cnn", epochs=1, batch_size=16)
    state = fit(settings, dataset, device=CPU, initial=tmp_path / "2.pt")
    state.save(tmp_path / "state.pt")
    assert state.card.pruned
    assert count_parameters(state.model) == second.parameters
    longer = fit(
        FitSettings(model="custom_cnn", epochs=2, batch_size=16),
        dataset,
        device=CPU,
        initial=tmp_path / "2.pt",
        resume=tmp_path / "state.pt",
    )
    assert [report.epoch for report in longer.history] == [1, 2]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_zeros_stay_zero_while_the_rest_learns(optimizer: str, tmp_path: Path, dataset: Dataset) -> None:
    pruned = prune_checkpoint(saved("custom_cnn", tmp_path), tmp_path / "sparse.pt", share=0.6, weights=True)
    assert pruned.parameters == pruned.parameters_before
    total = sum(weight.numel() for weight in prunable_weights(read_model(tmp_path / "sparse.pt")[1]))
    assert pruned.zeros == pytest.approx(0.6 * total, rel=0.01)
    settings = FitSettings(model="custom_cnn", epochs=1, batch_size=16, optimizer=optimizer)
    state = fit(settings, dataset, device=CPU, initial=tmp_path / "sparse.pt")
    before = prunable_weights(read_model(tmp_path / "sparse.pt")[1])
    after = prunable_weights(state.model)
    assert all(bool((new[old == 0] == 0).all()) for old, new in zip(before, after, strict=True))
    assert sum(not torch.equal(old, new) for old, new in zip(before, after, strict=True)) >= len(before) - 1


def test_training_begins_with_the_weights_it_is_given(tmp_path: Path, dataset: Dataset) -> None:
    path = saved("custom_cnn", tmp_path)
    state = fit(FitSettings(model="custom_cnn", epochs=1, batch_size=16, lr=1e-9), dataset, device=CPU, initial=path)
    for old, new in zip(prunable_weights(read_model(path)[1]), prunable_weights(state.model), strict=True):
        assert torch.allclose(old, new, atol=1e-5)


def test_weights_of_another_network_are_refused(tmp_path: Path, dataset: Dataset) -> None:
    settings = FitSettings(model="mobile", epochs=1, batch_size=16)
    with pytest.raises(BadInput, match="holds a custom_cnn for 3 classes of 32x32 images; asked for was a mobile"):
        fit(settings, dataset, device=CPU, initial=saved("custom_cnn", tmp_path))


def test_what_cannot_be_pruned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="attention_cnn cannot be pruned: its self-attention"):
        prune_checkpoint(saved("attention_cnn", tmp_path), tmp_path / "pruned.pt", share=0.5, weights=False)
    monkeypatch.setattr("app.prune.remove_channels", lambda *_: None)
    with pytest.raises(BadInput, match="--remove is too little"):
        prune_checkpoint(saved("custom_cnn", tmp_path), tmp_path / "pruned.pt", share=0.01, weights=False)
    assert not (tmp_path / "pruned.pt").exists()


def test_narrow_weights_without_the_mark_are_refused(tmp_path: Path) -> None:
    """Other shapes are taken for what they are, a damaged checkpoint, unless the card says that it was pruned."""
    prune_checkpoint(saved("custom_cnn", tmp_path), tmp_path / "pruned.pt", share=0.5, weights=False)
    content = checkpoint.load(tmp_path / "pruned.pt")
    content["card"]["pruned"] = False
    checkpoint.save(content, tmp_path / "pruned.pt")
    with pytest.raises(BrokenBundle, match="does not hold a Manta model"):
        read_model(tmp_path / "pruned.pt")
