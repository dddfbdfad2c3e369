"""Builds the file of each variant from a bundle's fp32 graph, in ONNX or TFLite."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.checkpoint import read_model
from app.conversion.answers import Answers, compare_answers
from app.conversion.half_precision import half_precision
from app.conversion.quantize import best_static, calibration_images, dynamic
from app.conversion.tflite_export import Precision, export_tflite, quantize_tflite
from app.conversion.variants import KINDS
from app.datasets import Dataset
from app.evaluate import accuracy, predict_in_batches
from app.inference import OnnxClassifier
from app.models import ServingModel

VALIDATION_IMAGES = 1000
"""On which ways to quantize are compared; the gates measure on the test split."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What variants are built from, and how much accuracy they may lose."""

    fp32: Path
    """The finished ONNX graph."""
    dataset: Dataset
    accuracy_loss_limit: float
    tflite: Path | None = None
    """The fp32 TFLite file that every variant of that format begins with: to trace it takes longest."""


def is_tflite(name: str) -> bool:
    return KINDS[name].file.endswith(".tflite")


def trace_tflite(checkpoint: Path, out: Path) -> None:
    """Writes `Sources.tflite`. Raises MantaError when litert-torch is missing, or cannot convert an operator."""
    card, classifier = read_model(checkpoint)
    export_tflite(ServingModel(classifier), card.input_size, out)


def build(name: str, sources: Sources, out: Path) -> dict[str, Any]:
    """Writes the variant's file; returns how it was made, for the manifest."""
    return _BUILDERS[name](sources, out)


def _int8(sources: Sources, out: Path) -> dict[str, Any]:
    val = sources.dataset.val
    rows = np.linspace(0, len(val) - 1, min(VALIDATION_IMAGES, len(val))).astype(int)
    images, labels = np.ascontiguousarray(val.images[rows]), np.asarray(val.labels)[rows]
    reference = predict_in_batches(OnnxClassifier(sources.fp32).predict, images)
    whole = accuracy(reference, labels)

    def judge(graph: Path) -> Answers:
        return compare_answers(predict_in_batches(OnnxClassifier(graph).predict, images), reference, labels)

    def good_enough(answers: Answers) -> bool:
        return (
            answers.mean_error <= KINDS["int8"].error_limit and whole - answers.accuracy <= sources.accuracy_loss_limit
        )

    return best_static(sources.fp32, out, calibration_images(sources.dataset.train), judge, good_enough).to_json()


def _int8_dynamic(sources: Sources, out: Path) -> dict[str, Any]:
    dynamic(sources.fp32, out)
    return {}


def _fp16(sources: Sources, out: Path) -> dict[str, Any]:
    half_precision(sources.fp32, out)
    return {}


def _tflite(sources: Sources, out: Path) -> dict[str, Any]:
    assert sources.tflite is not None
    shutil.copyfile(sources.tflite, out)
    return {}


def _quantized_tflite(precision: Precision) -> Callable[[Sources, Path], dict[str, Any]]:
    def build_it(sources: Sources, out: Path) -> dict[str, Any]:
        calibration = calibration_images(sources.dataset.train)
        assert sources.tflite is not None
        quantize_tflite(sources.tflite, out, precision, calibration)
        return {}

    return build_it


_BUILDERS: dict[str, Callable[[Sources, Path], dict[str, Any]]] = {
    "int8": _int8,
    "int8-dynamic": _int8_dynamic,
    "fp16": _fp16,
    "tflite": _tflite,
    "tflite-fp16": _quantized_tflite("fp16"),
    "tflite-int8": _quantized_tflite("int8"),
    "tflite-int8-dynamic": _quantized_tflite("int8-dynamic"),
}
