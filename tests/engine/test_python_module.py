"""The engine's Python module, where `make engine-python` installed it, against Python's own runtime."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import app
from app.artifact import open_bundle
from app.imaging import decode, resize
from app.inference import OnnxClassifier
from tests.app.pictures import encoded, rgb

manta_engine: Any = pytest.importorskip("manta_engine", reason="the module is not installed (`make engine-python`)")


@pytest.fixture(scope="module")
def engine(golden: Path) -> Any:
    return manta_engine.Engine(golden / "bundles" / "network")


@pytest.fixture(scope="module")
def classifier(golden: Path) -> OnnxClassifier:
    return OnnxClassifier.from_bundle(open_bundle(golden / "bundles" / "network"))


def test_it_knows_its_model(engine: Any, classifier: OnnxClassifier) -> None:
    assert manta_engine.__version__ == app.__version__
    assert tuple(engine.labels) == tuple(classifier.manifest.labels)
    assert (engine.name, engine.height, engine.width) == ("network", 32, 32)
    assert (engine.provider, engine.provider_message) == ("cpu", "")


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_the_same_answer_as_python(engine: Any, classifier: OnnxClassifier, image_format: str) -> None:
    data = encoded(rgb(61, 83), image_format)
    expected = classifier.predict(resize(decode(data), 32, 32)[None])[0]
    answer = engine.classify(data, top_k=100)
    assert (answer.height, answer.width) == (61, 83)
    assert answer.predictions[0].class_id == expected.argmax()
    for each in answer.predictions:
        assert each.confidence == pytest.approx(expected[each.class_id], abs=1e-5)
        assert each.class_name == engine.labels[each.class_id]
    confidences = [each.confidence for each in answer.predictions]
    assert confidences == sorted(confidences, reverse=True)


def test_a_bad_image_in_a_batch_shifts_no_other(engine: Any) -> None:
    first, last = encoded(rgb(32, 32), "PNG"), encoded(rgb(40, 30), "JPEG")
    answers = engine.classify_batch([first, b"no image", last], 1)
    assert answers[1].error.startswith("not a JPEG")
    for data, answer in ((first, answers[0]), (last, answers[2])):
        assert answer.error == ""
        assert answer.predictions[0].class_id == engine.classify(data, 1).predictions[0].class_id
    assert engine.classify_batch([]) == []


def test_infer(engine: Any, classifier: OnnxClassifier) -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), np.uint8)
    probabilities = engine.infer(images)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, classifier.predict(images), atol=1e-5)
    with pytest.raises(manta_engine.BadInput, match="uint8"):
        engine.infer(np.ascontiguousarray(images[:, :16]))
    for other in (images.astype(np.float32), images[:, ::-1]):  # nothing is converted or copied unasked
        with pytest.raises(TypeError):
            engine.infer(other)


def test_errors_are_a_tree(engine: Any, golden: Path) -> None:
    with pytest.raises(manta_engine.BadImage, match="not a JPEG"):
        engine.classify(b"no image")
    with pytest.raises(manta_engine.BadInput, match="top_k"):
        engine.classify(encoded(rgb(), "PNG"), 0)
    with pytest.raises(manta_engine.NotFound):
        manta_engine.Engine("/does/not/exist")
    with pytest.raises(manta_engine.BrokenModel, match="carries no Manta manifest"):
        manta_engine.Engine(golden / "models" / "no_manifest.onnx")
    small = manta_engine.Engine(golden / "bundles" / "network", max_pixels=10)
    with pytest.raises(manta_engine.ImageTooLarge):
        small.classify(encoded(rgb(), "PNG"))
    for error in ("BadInput", "NotFound", "BrokenModel"):
        assert issubclass(getattr(manta_engine, error), manta_engine.Error)
    assert issubclass(manta_engine.ImageTooLarge, manta_engine.BadImage)
    assert issubclass(manta_engine.BadImage, manta_engine.BadInput)


def test_answers_outlive_the_engine(golden: Path) -> None:
    answer = manta_engine.Engine(golden / "bundles" / "network").classify(encoded(rgb(), "PNG"))
    assert answer.predictions[0].class_name.startswith("class ")


def test_threads_share_it(engine: Any) -> None:
    files = [encoded(rgb(20 + index, 30), "PNG") for index in range(8)]
    expected = [engine.classify(data, 1).predictions[0].confidence for data in files]
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda data: engine.classify(data, 1), files * 25))
    assert [answer.predictions[0].confidence for answer in answers] == expected * 25
