"""A bundle's own image: whoever answers otherwise is found out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from app.artifact import open_bundle, read_manifest, write_manifest
from app.errors import BrokenBundle
from app.inference import OnnxClassifier
from app.self_test import ANSWERS_FILE, IMAGE_FILE, SelfTest, read_self_test, typical_image
from tests.bundles import tamper, write_colour_bundle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_colour_bundle(tmp_path)
    return tmp_path


def read(folder: Path) -> SelfTest:
    found = read_self_test(folder, read_manifest(folder))
    assert found is not None
    return found


def answer(folder: Path, pixels: np.ndarray) -> np.ndarray:
    row: np.ndarray = OnnxClassifier.from_bundle(open_bundle(folder)).predict(pixels[np.newaxis])[0]
    return row


def test_the_graph_it_was_made_with_passes(folder: Path) -> None:
    test = read(folder)
    assert test.pixels.dtype == np.uint8
    assert (test.pixels.shape, test.label) == ((8, 8, 3), "green")
    test.check("fp32", answer(folder, test.pixels))


def test_a_tampered_model_is_found_out_though_every_checksum_is_right(folder: Path) -> None:
    tamper(folder)
    test = read(folder)
    with pytest.raises(
        BrokenBundle, match=r"fp32 graph answers class 0 with 0\.\d+ to selftest\.png, expected class 1"
    ):
        test.check("fp32", answer(folder, test.pixels))


@pytest.mark.parametrize(
    ("probabilities", "match"),
    [
        ([np.nan, np.nan, np.nan], "difference nan"),
        ([0.5, 0.5], "2 probabilities, expected 3"),
        ([0.1, 0.802, 0.098], "difference 0.002"),
    ],
)
def test_what_is_no_such_answer(probabilities: list[float], match: str) -> None:
    test = SelfTest(np.zeros((1, 1, 3), np.uint8), "b", {"fp32": np.array([0.1, 0.8, 0.1], np.float32)})
    with pytest.raises(BrokenBundle, match=match):
        test.check("fp32", np.array(probabilities, np.float32))


def test_rounding_is_no_failure() -> None:
    """Less of it is forgiven in fp32 than in a graph of fewer bits."""
    expected = np.array([0.1, 0.8, 0.1], np.float32)
    test = SelfTest(np.zeros((1, 1, 3), np.uint8), "b", {"fp32": expected, "int8": expected})
    test.check("fp32", expected + np.float32(1e-4))
    test.check("int8", expected + np.float32(0.03))
    with pytest.raises(BrokenBundle, match="int8"):
        test.check("int8", expected + np.float32(0.06))
    test.check("fp16", np.zeros(3, np.float32))  # nothing is known of this one


def test_a_bundle_without_one_is_an_older_one(tmp_path: Path) -> None:
    write_colour_bundle(tmp_path, self_test=False)
    assert read_self_test(tmp_path, open_bundle(tmp_path).manifest) is None


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"label": "red", "answers": 3}', '{"label": "", "answers": {"a": "b"}}']
)
def test_damaged_answers(folder: Path, content: str) -> None:
    (folder / ANSWERS_FILE).write_text(content)
    with pytest.raises(BrokenBundle, match=r"selftest\.json is missing or was changed"):
        read(folder)
    write_manifest(folder, read_manifest(folder))
    with pytest.raises(BrokenBundle, match="cannot be read"):
        read(folder)


def test_a_damaged_image(folder: Path) -> None:
    (folder / IMAGE_FILE).write_bytes(b"no image")
    manifest = write_manifest(folder, read_manifest(folder))
    with pytest.raises(BrokenBundle, match="cannot be read"):
        read_self_test(folder, manifest)
    (folder / IMAGE_FILE).unlink()
    with pytest.raises(BrokenBundle, match=r"selftest\.png is missing"):
        read_self_test(folder, manifest)


def test_labels_of_all_scripts_are_kept(folder: Path) -> None:
    content = json.loads((folder / ANSWERS_FILE).read_text())
    (folder / ANSWERS_FILE).write_text(json.dumps({**content, "label": "груша"}), encoding="utf-8")
    write_manifest(folder, read_manifest(folder))
    assert read(folder).label == "груша"


def test_the_typical_image_is_right_and_neither_sure_nor_unsure() -> None:
    confidence = np.array([0.99, 0.6, 0.9, 0.55, 0.8])
    probabilities = np.stack([confidence, 1 - confidence], 1)
    assert typical_image(probabilities, np.array([0, 0, 1, 0, 0])) == 4, "of 0.55, 0.6, 0.8 and 0.99"
    assert typical_image(probabilities, np.array([1, 1, 1, 1, 1])) == 4, "none is right: of all"
