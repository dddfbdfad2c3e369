"""The variants of a bundle: what each is, and the limits it has to keep."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.artifact import MODEL_FILE
from app.errors import BadInput

if TYPE_CHECKING:
    from app.evaluate import Predict

FP32 = "fp32"
INT8_ERROR_LIMIT = 0.03
ROUNDING_ERROR_LIMIT = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of variant."""

    name: str
    file: str
    error_limit: float
    """Largest mean error of its answers (`Answers.mean_error`)."""
    faster_than: str | None = None
    """The variant it has to beat to be worth its place; None for a format that is wanted for other reasons."""
    note: str = ""
    """What its figures do not say."""


KINDS = {
    kind.name: kind
    for kind in (
        Kind(name=FP32, file=MODEL_FILE, error_limit=1e-5),
        Kind(name="int8", file="model.int8.onnx", error_limit=INT8_ERROR_LIMIT, faster_than=FP32),
        Kind(name="int8-dynamic", file="model.int8-dynamic.onnx", error_limit=INT8_ERROR_LIMIT, faster_than=FP32),
        Kind(
            name="fp16",
            file="model.fp16.onnx",
            error_limit=ROUNDING_ERROR_LIMIT,
            note="for GPUs: a CPU gains nothing but the size",
        ),
        Kind(name="tflite", file="model.tflite", error_limit=1e-5),
        Kind(
            name="tflite-fp16",
            file="model.fp16.tflite",
            error_limit=ROUNDING_ERROR_LIMIT,
            note="for GPUs: a CPU gains nothing but the size",
        ),
        Kind(name="tflite-int8", file="model.int8.tflite", error_limit=INT8_ERROR_LIMIT, faster_than="tflite"),
        Kind(
            name="tflite-int8-dynamic",
            file="model.int8-dynamic.tflite",
            error_limit=INT8_ERROR_LIMIT,
            faster_than="tflite",
        ),
    )
}


def parse_variants(text: str) -> tuple[str, ...]:
    """`int8,tflite` -> their names, and those they are compared with, in the table's order. Raises BadInput."""
    names = {name.strip() for name in text.split(",") if name.strip()}
    unknown = sorted(names - KINDS.keys())
    if unknown or not names:
        what = f"unknown variant {unknown[0]!r}" if unknown else "--variants names none"
        raise BadInput(f"{what}; there are {', '.join(KINDS)}")
    needed = {FP32} | names | {baseline for name in names if (baseline := KINDS[name].faster_than)}
    return tuple(name for name in KINDS if name in needed)


def load_variant(path: Path, *, threads: int = 1) -> Predict:
    """Any graph file of a bundle, by its ending. Raises BrokenBundle."""
    if path.suffix == ".tflite":
        from app.tflite_inference import TfliteClassifier

        return TfliteClassifier(path, threads=threads).predict
    from app.inference import OnnxClassifier

    return OnnxClassifier(path, threads=threads).predict
