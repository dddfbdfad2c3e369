"""A bundle's graph in ONNX Runtime, on the bundle whose class is the strongest colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from app.artifact import MODEL_FILE, ONNX_METADATA_KEY, open_bundle
from app.errors import BrokenBundle, NotFound
from app.inference import OnnxClassifier, session_options
from tests.bundles import COLOURS, write_colour_bundle


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inference") / "bundle"
    write_colour_bundle(folder)
    return folder


@pytest.fixture(scope="module")
def classifier(folder: Path) -> OnnxClassifier:
    return OnnxClassifier.from_bundle(open_bundle(folder))


def pure(*channels: int) -> np.ndarray:
    """One image for each channel, bright in that channel only."""
    images = np.zeros((len(channels), 8, 8, 3), np.uint8)
    images[np.arange(len(channels)), ..., list(channels)] = 255
    return images


@pytest.mark.parametrize("count", [1, 2, 7, 64])
def test_any_batch_size_is_answered_row_by_row(classifier: OnnxClassifier, count: int) -> None:
    channels = [number % 3 for number in range(count)]
    answers = classifier.predict(pure(*channels))
    assert answers.shape == (count, 3)
    assert answers.dtype == np.float32
    assert answers.argmax(1).tolist() == channels
    assert answers.sum(1) == pytest.approx(np.ones(count), abs=1e-6)
    assert answers.max(1) == pytest.approx(np.ones(count), abs=1e-6)


def test_a_row_does_not_depend_on_its_neighbours(classifier: OnnxClassifier) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    one_by_one = np.concatenate([classifier.predict(image[None]) for image in images])
    assert np.abs(classifier.predict(images) - one_by_one).max() < 1e-6


def test_the_graph_knows_its_labels(classifier: OnnxClassifier) -> None:
    assert classifier.manifest.labels == COLOURS
    assert (classifier.manifest.input.height, classifier.manifest.input.width) == (8, 8)


def test_warming_up_runs_each_batch_size(classifier: OnnxClassifier, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[tuple[int, ...]] = []
    monkeypatch.setattr(OnnxClassifier, "predict", lambda _self, images: shapes.append(images.shape))
    classifier.warm_up((1, 4))
    assert shapes == [(1, 8, 8, 3), (4, 8, 8, 3)]


def test_an_unknown_variant_is_not_found(folder: Path) -> None:
    with pytest.raises(NotFound, match="int8"):
        OnnxClassifier.from_bundle(open_bundle(folder), variant="int8")


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_a_damaged_file_is_broken_and_named(folder: Path, tmp_path: Path, keep: float) -> None:
    data = (folder / MODEL_FILE).read_bytes()
    (tmp_path / "cut.onnx").write_bytes(data[: int(keep * len(data))])
    with pytest.raises(BrokenBundle, match=r"cut\.onnx"):
        OnnxClassifier(tmp_path / "cut.onnx")


def test_a_missing_file_is_broken_and_named(tmp_path: Path) -> None:
    with pytest.raises(BrokenBundle, match=r"none\.onnx"):
        OnnxClassifier(tmp_path / "none.onnx")


@pytest.mark.parametrize("seal", [None, "{}", '{"manifest": "changed", "sha256": "0"}'])
def test_a_graph_without_its_seal_is_broken_and_named(folder: Path, tmp_path: Path, seal: str | None) -> None:
    graph = onnx.load(folder / MODEL_FILE)
    del graph.metadata_props[:]
    if seal is not None:
        graph.metadata_props.add(key=ONNX_METADATA_KEY, value=seal)
    onnx.save(graph, tmp_path / "lone.onnx")
    with pytest.raises(BrokenBundle, match=r"lone\.onnx: .*manifest"):
        OnnxClassifier(tmp_path / "lone.onnx")


def test_threads_are_always_set_and_do_not_spin(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = session_options(3)
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 1)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    asked: list[int] = []

    def spy(threads: int) -> object:
        asked.append(threads)
        return session_options(threads)

    monkeypatch.setattr("app.inference.session_options", spy)
    OnnxClassifier.from_bundle(open_bundle(folder), threads=2)
    OnnxClassifier.from_bundle(open_bundle(folder))
    assert asked == [2, 1]
