"""Layers that lose too much stay in float."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from app.conversion.answers import Answers, compare_answers
from app.conversion.quantize import Scheme, _Batches, best_static, calibration_images
from app.datasets import Split
from app.evaluate import predict_in_batches
from app.inference import OnnxClassifier
from tests.app.conversion.conftest import DenseDigits

SCHEME = Scheme(calibration="minmax", per_channel=False)


def judge_of(dense_digits: DenseDigits) -> tuple[list[Answers], object]:
    val, seen = dense_digits.dataset.val, []
    reference = predict_in_batches(OnnxClassifier(dense_digits.sources.fp32).predict, val.images)

    def judge(graph: Path) -> Answers:
        answers = compare_answers(predict_in_batches(OnnxClassifier(graph).predict, val.images), reference, val.labels)
        seen.append(answers)
        return answers

    return seen, judge


def test_the_noisiest_layers_are_left_in_float(dense_digits: DenseDigits, tmp_path: Path) -> None:
    seen, judge = judge_of(dense_digits)
    out = tmp_path / "int8.onnx"
    found = best_static(
        dense_digits.sources.fp32,
        out,
        calibration_images(dense_digits.dataset.train),
        judge,  # type: ignore[arg-type]
        lambda _: False,
        schemes=[SCHEME],
    )
    assert [len(each.scheme.float_layers) for each in found.tried] == [0, 1, 2]
    assert found.tried[2].scheme.float_layers == tuple(found.layer_noise)[:2]
    assert found.chosen.answers.mean_error == min(answers.mean_error for answers in seen)
    assert found.chosen.scheme.float_layers, "a layer in float is nearer to the network"
    kept = [node for node in onnx.load(out).graph.node if node.name in found.chosen.scheme.float_layers]
    initializers = {each.name for each in onnx.load(out).graph.initializer}
    assert kept
    assert all(node.input[1] in initializers for node in kept), "their weights are no quantized ones"


@pytest.mark.parametrize(
    ("side", "classes", "images", "shown"),
    [(32, 10, 250, 10), (96, 10, 80, 10), (128, 10, 40, 10), (224, 31, 16, 16), (224, 1000, 16, 16), (1024, 10, 4, 4)],
)
def test_calibration_images_fit_in_memory_and_show_many_classes(
    side: int, classes: int, images: int, shown: int
) -> None:
    """Every image that is chosen is also read: batches are of one size, and the rest used to be whole classes."""
    labels = np.repeat(np.arange(classes), 30)
    every = np.broadcast_to(labels[:, None, None, None].astype(np.uint16), (len(labels), side, side, 3))
    found = calibration_images(Split(every, labels))
    assert len(found) == images
    assert len(np.unique(found[:, 0, 0, 0])) == shown
    batches = list(iter(_Batches(found).get_next, None))
    assert len({len(batch["images"]) for batch in batches}) == 1
    assert sum(len(batch["images"]) for batch in batches) > images - len(batches)


def test_clipped_ranges_are_seen_in_the_answers(dense_digits: DenseDigits, tmp_path: Path) -> None:
    """Calibrated on black images, everything real is clipped: the error says so, whatever the accuracy says."""
    seen, judge = judge_of(dense_digits)
    black = np.zeros_like(calibration_images(dense_digits.dataset.train))
    best_static(
        dense_digits.sources.fp32,
        tmp_path / "int8.onnx",
        black,
        judge,  # type: ignore[arg-type]
        lambda _: True,
        schemes=[SCHEME],
    )
    assert seen[0].mean_error > 0.1
