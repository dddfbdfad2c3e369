"""A finished bundle from a trained network, and the gates that keep a bad one from being finished."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.artifact import CHECKPOINT_FILE, MANIFEST_FILE, MODEL_FILE, Lineage, Manifest, open_bundle
from app.checkpoint import ModelCard, read_model
from app.conversion import bundling
from app.conversion.answers import Answers
from app.conversion.bundling import Measured, torch_predict, write_bundle
from app.datasets import Dataset
from app.errors import GateFailed
from app.evaluate import accuracy
from app.imaging import RESIZE_RULE
from app.inference import OnnxClassifier
from app.models import ImageClassifier, ServingModel, build_classifier
from app.reference import REFERENCE_FILE, read_reference, reference_of
from app.self_test import ANSWERS_FILE, IMAGE_FILE, read_self_test
from app.settings import FitSettings
from app.train_state import TrainState
from app.training import fit
from tests.app.image_trees import entries
from tests.app.tiny_data import LABELS, colour_dataset

pytestmark = pytest.mark.usefixtures("single_thread")

LINEAGE = Lineage(dataset="colours", dataset_digest="d", git_commit="c", run_id="r")


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return colour_dataset(size=(10, 8))


@pytest.fixture(scope="module")
def trained(dataset: Dataset) -> TrainState:
    return fit(FitSettings(epochs=20, batch_size=16), dataset, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bundle")


@pytest.fixture(scope="module")
def measured(folder: Path, trained: TrainState, dataset: Dataset) -> Measured:
    return write_bundle(folder, trained.card, trained.model, dataset.test, name="colours", lineage=LINEAGE)


def test_a_bundle_is_complete(folder: Path, measured: Measured) -> None:
    assert entries(folder) == [CHECKPOINT_FILE, MANIFEST_FILE, MODEL_FILE, REFERENCE_FILE, ANSWERS_FILE, IMAGE_FILE]
    bundle = open_bundle(folder)
    assert bundle.manifest == measured.manifest
    assert bundle.manifest.files.keys() == {CHECKPOINT_FILE, MODEL_FILE, REFERENCE_FILE, ANSWERS_FILE, IMAGE_FILE}


def test_the_self_test_is_one_of_the_test_images(folder: Path, measured: Measured, dataset: Dataset) -> None:
    test = read_self_test(folder, measured.manifest)
    assert test is not None
    (place,) = (place for place, image in enumerate(dataset.test.images) if np.array_equal(image, test.pixels))
    assert test.label == LABELS[dataset.test.labels[place]]
    assert test.answers["fp32"] == pytest.approx(measured.probabilities[place], abs=1e-5)
    test.check("fp32", OnnxClassifier(folder / MODEL_FILE).predict(test.pixels[np.newaxis])[0])


def test_the_reference_is_of_the_test_images(folder: Path, measured: Measured, dataset: Dataset) -> None:
    assert read_reference(folder, measured.manifest) == reference_of(dataset.test.images, measured.probabilities)


def test_what_the_manifest_says(folder: Path, measured: Measured) -> None:
    manifest = measured.manifest
    assert (manifest.name, manifest.architecture, manifest.labels) == ("colours", "custom_cnn", LABELS)
    assert (manifest.input.height, manifest.input.width, manifest.input.resize) == (10, 8, RESIZE_RULE)
    assert manifest.lineage == LINEAGE
    assert manifest.created.endswith("+00:00")
    fp32 = manifest.variants["fp32"]
    assert fp32.bytes == (folder / MODEL_FILE).stat().st_size
    assert fp32.latency_ms.keys() == {"1", "32"}
    assert 0 < fp32.latency_ms["1"] < fp32.latency_ms["32"]


def test_what_was_measured_holds(folder: Path, measured: Measured, dataset: Dataset) -> None:
    fp32 = measured.manifest.variants["fp32"]
    classifier = OnnxClassifier.from_bundle(open_bundle(folder))
    assert accuracy(classifier.predict(dataset.test.images), dataset.test.labels) == fp32.accuracy
    assert measured.onnx_accuracy == measured.pytorch_accuracy == fp32.accuracy
    assert measured.onnx_accuracy > 0.9
    assert measured.max_error == fp32.max_error
    assert measured.max_error < 1e-5


@pytest.mark.parametrize("count", [1, 7, 64])
def test_parity_of_a_trained_network(folder: Path, measured: Measured, trained: TrainState, count: int) -> None:
    images = np.random.default_rng(count).integers(0, 256, (count, 10, 8, 3), dtype=np.uint8)
    answers = OnnxClassifier(folder / MODEL_FILE).predict(images)
    assert np.abs(answers - torch_predict(ServingModel(trained.model).eval())(images)).max() < 1e-5


def test_the_checkpoint_is_the_same_model(folder: Path, measured: Measured, trained: TrainState) -> None:
    card, model = read_model(folder / CHECKPOINT_FILE)
    assert card == trained.card
    expected = trained.model.state_dict()
    assert all(torch.equal(weight, expected[name]) for name, weight in model.state_dict().items())


def test_read_only_images_are_taken(trained: TrainState, dataset: Dataset) -> None:
    """As the maps of a cached data set are."""
    images = dataset.test.images.copy()
    images.flags.writeable = False
    assert torch_predict(ServingModel(trained.model).eval())(images).shape == (15, 3)


Export = Callable[[ServingModel, Manifest, Path], None]


def write_with(
    export: Export, folder: Path, card: ModelCard, model: ImageClassifier, dataset: Dataset, monkeypatch: Any
) -> str:
    """The refusal of a bundle whose graph comes from `export`; nothing that could be opened is left."""
    monkeypatch.setattr(bundling, "export_onnx", export)
    with pytest.raises(GateFailed) as caught:
        write_bundle(folder, card, model, dataset.test, name="colours", lineage=LINEAGE)
    assert MANIFEST_FILE not in entries(folder)
    return str(caught.value)


@pytest.fixture
def copied_graph(folder: Path, measured: Measured) -> Export:
    """An exporter that always writes the graph of the trained network."""

    def export(_model: ServingModel, _manifest: Manifest, path: Path) -> None:
        shutil.copyfile(folder / MODEL_FILE, path)

    return export


@pytest.mark.parametrize("seen_by", ["batches", "the whole split"])
def test_a_graph_of_other_weights_is_refused_with_the_figures(
    tmp_path: Path,
    trained: TrainState,
    dataset: Dataset,
    copied_graph: Export,
    monkeypatch: pytest.MonkeyPatch,
    seen_by: str,
) -> None:
    """Where only an image that is in none of the few batches is answered otherwise, or only a size of batch."""
    if seen_by == "the whole split":
        monkeypatch.setattr(bundling, "max_difference", lambda *_: 0.0)
    else:
        alike = Answers(accuracy=1.0, max_error=0.0, mean_error=0.0)
        monkeypatch.setattr(bundling, "compare_answers", lambda *_: alike)
    torch.manual_seed(5)
    other = build_classifier("custom_cnn", 3, (10, 8))
    refusal = write_with(copied_graph, tmp_path, trained.card, other, dataset, monkeypatch)
    error = float(refusal.split("difference from the PyTorch model ")[1].split()[0])
    assert 0.01 < error <= 1
    assert f"difference from the PyTorch model {error:.3g} (limit 1e-05): failed by" in refusal


def test_a_network_that_answers_no_numbers_is_refused(
    tmp_path: Path, trained: TrainState, dataset: Dataset, copied_graph: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = build_classifier("custom_cnn", 3, (10, 8))
    torch.nn.init.constant_(broken.get_parameter("net.head.weight"), float("nan"))
    refusal = write_with(copied_graph, tmp_path, trained.card, broken, dataset, monkeypatch)
    assert "difference from the PyTorch model nan" in refusal


def test_lost_accuracy_is_refused(
    tmp_path: Path, trained: TrainState, dataset: Dataset, copied_graph: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A graph within parity but with other answers, as rounding at a tie gives."""
    monkeypatch.setattr(bundling, "max_difference", lambda *_: 0.0)
    scores = iter([0.9, 0.85])
    monkeypatch.setattr(bundling, "accuracy", lambda *_: next(scores))
    refusal = write_with(copied_graph, tmp_path, trained.card, trained.model, dataset, monkeypatch)
    assert refusal == "loss of accuracy 0.05 (limit 0.0005): failed by 0.0495"


def test_a_better_graph_is_not_refused(
    tmp_path: Path, trained: TrainState, dataset: Dataset, copied_graph: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.85, 0.9])
    monkeypatch.setattr(bundling, "accuracy", lambda *_: next(scores))
    monkeypatch.setattr(bundling, "export_onnx", copied_graph)
    write_bundle(tmp_path, trained.card, trained.model, dataset.test, name="colours", lineage=LINEAGE)
    assert open_bundle(tmp_path).manifest.variants["fp32"].accuracy == 0.9
