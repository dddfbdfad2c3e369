"""A classifier replica without Serve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import BrokenBundle, NotFound
from serve_deployments import classifier as classifier_module
from serve_deployments.classifier import Classifier
from serve_deployments.schemas import ClassifierArgs
from tests.bundles import tamper, write_colour_bundle


def images_of(*channels: int) -> np.ndarray:
    """uint8 [N, 8, 8, 3], each of one pure colour."""
    images = np.zeros((len(channels), 8, 8, 3), np.uint8)
    for image, channel in zip(images, channels, strict=True):
        image[..., channel] = 255
    return images


def classifier_of(folder: Path, **args: Any) -> Classifier:
    return Classifier(ClassifierArgs(bundle_uri=folder.as_uri(), version="1", **args))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_colour_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"


async def test_rows_are_in_order(bundle: Path) -> None:
    probabilities = await classifier_of(bundle).predict(images_of(2, 0, 1, 1))
    assert probabilities.dtype == np.float32
    assert probabilities.shape == (4, 3)
    assert probabilities.argmax(1).tolist() == [2, 0, 1, 1]


async def test_merged_calls_get_their_own_rows(bundle: Path) -> None:
    merge: Any = Classifier._merge
    calls = [images_of(0), images_of(1, 2, 1), images_of(2, 2)]
    answers = await merge.__wrapped__(classifier_of(bundle), calls)
    assert [answer.argmax(1).tolist() for answer in answers] == [[0], [1, 2, 1], [2, 2]]


@pytest.mark.parametrize(
    "images",
    [
        images_of(0)[0],
        images_of(0).astype(np.float32),
        np.zeros((1, 9, 8, 3), np.uint8),
        np.zeros((1, 8, 8, 4), np.uint8),
    ],
)
async def test_other_arrays_are_refused(bundle: Path, images: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        await classifier_of(bundle).predict(images)


async def test_long_runs_go_to_a_thread(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is long when nothing may be run inline; the answer is the same."""
    classifier = classifier_of(bundle)
    monkeypatch.setattr(classifier_module, "INLINE_SECONDS", 0.0)
    assert (await classifier.predict(images_of(1, 0))).argmax(1).tolist() == [1, 0]
    assert len(classifier._thread._threads) == 1


async def test_health(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = classifier_of(bundle)
    await classifier.check_health()
    monkeypatch.setattr(classifier._model, "predict", lambda images: np.full((len(images), 3), np.nan))
    with pytest.raises(BrokenBundle):
        await classifier.check_health()


def test_a_bundle_is_verified_before_it_is_loaded(bundle: Path) -> None:
    with pytest.raises(NotFound, match="int8"):
        classifier_of(bundle, variant="int8")
    (bundle / "model.onnx").write_bytes(b"changed")
    with pytest.raises(BrokenBundle, match="changed"):
        classifier_of(bundle)
    with pytest.raises(NotFound):
        classifier_of(bundle / "nowhere")


def test_a_graph_that_answers_otherwise_than_when_it_was_made_does_not_start(bundle: Path) -> None:
    tamper(bundle)
    with pytest.raises(BrokenBundle, match="self-test: the fp32 graph answers class 0"):
        classifier_of(bundle)


def test_an_older_bundle_starts_without_a_self_test(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_colour_bundle(tmp_path, self_test=False)
    classifier_of(tmp_path)
    assert "version 1 has no self-test" in caplog.text
