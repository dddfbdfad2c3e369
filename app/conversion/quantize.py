"""int8 graphs with ONNX Runtime: static (QDQ), calibrated on training images, and dynamic.

Weights take 7 of their 8 bits. A CPU without VNNI adds pairs of 8-bit products in 16 bits, which full weights overflow
(measured here: 91 % accuracy became 18 %), and a graph may be served on another CPU than the one that made it.
Normalization and softmax stay float: their operators are in none of the lists below.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    qdq_loss_debug,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from app.conversion.answers import Answers
from app.datasets import Split
from app.errors import BadInput

Calibration = Literal["minmax", "entropy", "percentile"]

CALIBRATION_IMAGES = 256
CALIBRATION_PIXELS = 16 * 224 * 224
"""Of all calibration images together: histograms are made from every activation of them at once."""
FEWEST_CALIBRATION_IMAGES = 4
"""However large they are."""
CALIBRATION_BATCH = 32
SENSITIVITY_IMAGES = 32
LAYERS = ("Conv", "Gemm", "MatMul")
"""Operators with weights."""
QUANTIZED = (*LAYERS, "Relu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool", "Add", "Concat")
_METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """One way to quantize a graph."""

    calibration: Calibration
    per_channel: bool
    float_layers: tuple[str, ...] = ()
    """Nodes that stay float."""

    def __str__(self) -> str:
        text = f"{self.calibration}, {'per channel' if self.per_channel else 'per tensor'}"
        return f"{text}, {len(self.float_layers)} layers in float" if self.float_layers else text


SCHEMES = tuple(
    Scheme(calibration=calibration, per_channel=per_channel)
    for calibration, per_channel in itertools.product(get_args(Calibration), (True, False))
)

Judge = Callable[[Path], Answers]
"""Measures a graph on validation images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A scheme and what it gave on validation images."""

    scheme: Scheme
    answers: Answers

    def to_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self.scheme), **dataclasses.asdict(self.answers)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantized:
    """The scheme that was taken, and how it was found."""

    chosen: Tried
    tried: tuple[Tried, ...]
    layer_noise: dict[str, float]
    """Signal-to-quantization-noise ratio in dB of each layer, the noisiest first."""

    def to_json(self) -> dict[str, Any]:
        return {
            "chosen": self.chosen.to_json(),
            "tried": [each.to_json() for each in self.tried],
            "layer_noise_db": self.layer_noise,
        }


def calibration_images(train: Split) -> np.ndarray:
    """uint8 [n, H, W, 3]: training images in mixed order, as many of each class, or one of as many classes as may be.

    Raises BadInput when they show one class or none.
    """
    labels = np.asarray(train.labels)
    classes = np.unique(labels)
    if len(classes) < 2:
        what = "is empty" if len(classes) == 0 else "shows a single class"
        raise BadInput(f"the calibration set {what}: ranges measured on it would clip everything else")
    height, width = train.images.shape[1:3]
    count = max(FEWEST_CALIBRATION_IMAGES, min(CALIBRATION_IMAGES, CALIBRATION_PIXELS // (height * width)))
    chosen = classes[np.linspace(0, len(classes) - 1, min(count, len(classes))).astype(int)]
    rows = np.concatenate([np.flatnonzero(labels == one)[: count // len(chosen)] for one in chosen])
    return np.ascontiguousarray(train.images[np.random.default_rng(0).permutation(rows)])


def best_static(
    fp32: Path,
    out: Path,
    calibration: np.ndarray,
    judge: Judge,
    good_enough: Callable[[Answers], bool],
    *,
    schemes: Sequence[Scheme] = SCHEMES,
) -> Quantized:
    """Writes to `out` the graph of the scheme whose answers differ least from the network's.

    Where even that is not good enough, the noisiest layers are left in float: one, then two, four and so on, up to
    half of them.
    """
    with tempfile.TemporaryDirectory() as folder:
        writer = _StaticWriter(fp32, calibration, Path(folder))
        tried = []
        for scheme in schemes:
            writer.write(scheme, out)
            tried.append(Tried(scheme=scheme, answers=judge(out)))
        chosen = min(tried, key=_error)
        writer.write(chosen.scheme, out)
        noise = writer.layer_noise(out, calibration[:: max(1, len(calibration) // SENSITIVITY_IMAGES)])
        for count in (2**power for power in range(len(noise).bit_length())):
            if good_enough(chosen.answers) or count > len(noise) / 2:
                break
            scheme = dataclasses.replace(chosen.scheme, float_layers=tuple(noise)[:count])
            writer.write(scheme, out)
            tried.append(Tried(scheme=scheme, answers=judge(out)))
            chosen = min(chosen, tried[-1], key=_error)
        writer.write(chosen.scheme, out)
    return Quantized(chosen=chosen, tried=tuple(tried), layer_noise=noise)


def dynamic(fp32: Path, out: Path) -> None:
    """Writes a graph with int8 weights whose activations are quantized anew in every run."""
    with _quiet():
        # Unsigned weights: ONNX Runtime has no ConvInteger for signed ones.
        quantize_dynamic(fp32, out, op_types_to_quantize=list(LAYERS), weight_type=QuantType.QUInt8, reduce_range=True)
    _copy_metadata(fp32, out)


class _StaticWriter:
    """Calibrates once for each method, however many schemes use it."""

    def __init__(self, fp32: Path, calibration: np.ndarray, folder: Path) -> None:
        self._fp32, self._calibration, self._folder = fp32, calibration, folder
        self._prepared = folder / "prepared.onnx"
        with _quiet():
            quant_pre_process(fp32, self._prepared, skip_symbolic_shape=True)

    def write(self, scheme: Scheme, out: Path) -> None:
        with _quiet():
            quantize_static(
                self._prepared,
                out,
                _Batches(self._calibration),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(QUANTIZED),
                per_channel=scheme.per_channel,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=list(scheme.float_layers),
                calibrate_method=_METHODS[scheme.calibration],
                extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]},  # logits stay float
                calibration_cache_path=self._folder / f"{scheme.calibration}.json",
            )
        _copy_metadata(self._fp32, out)

    def layer_noise(self, quantized: Path, images: np.ndarray) -> dict[str, float]:
        """By name of the layer in dB, the lowest (noisiest) first: of its weights or its input, whichever is worse."""
        of_tensors = self._activation_noise(quantized, images)
        with _quiet():
            weights = qdq_loss_debug.create_weight_matching(str(self._prepared), str(quantized))
        of_tensors |= qdq_loss_debug.compute_weight_error(weights)
        layers = {}
        for node in onnx.load(self._prepared).graph.node:
            known = [of_tensors[name] for name in node.input if name in of_tensors]
            if node.op_type in LAYERS and known:
                layers[node.name] = round(min(known), 2)
        return dict(sorted(layers.items(), key=lambda layer: layer[1]))

    def _activation_noise(self, quantized: Path, images: np.ndarray) -> dict[str, float]:
        found = []
        for number, graph in enumerate((quantized, self._prepared)):
            watched = self._folder / f"watched{number}.onnx"
            with _quiet():
                qdq_loss_debug.modify_model_output_intermediate_tensors(graph, watched)
                found.append(qdq_loss_debug.collect_activations(str(watched), _Batches(images)))
        pairs = qdq_loss_debug.create_activation_matching(*found)
        both = {name: pair for name, pair in pairs.items() if "float" in pair}
        return {name: error["qdq_err"] for name, error in qdq_loss_debug.compute_activation_error(both).items()}


class _Batches(CalibrationDataReader):  # type: ignore[misc]  # untyped
    """Batches of one size, because histograms want that: at most one image less than there are batches is left out."""

    def __init__(self, images: np.ndarray) -> None:
        self._size = len(images) // -(-len(images) // CALIBRATION_BATCH)
        self._starts = iter(range(0, len(images) - self._size + 1, self._size))
        self._images = images

    def get_next(self) -> dict[str, np.ndarray] | None:
        start = next(self._starts, None)
        return None if start is None else {"images": self._images[start : start + self._size]}


def _error(tried: Tried) -> float:
    return tried.answers.mean_error


def _copy_metadata(source: Path, target: Path) -> None:
    """A lone graph still knows its labels, whatever a tool dropped on the way."""
    graph, original = onnx.load(target), onnx.load(source)
    del graph.metadata_props[:]
    graph.metadata_props.extend(original.metadata_props)
    graph.producer_name, graph.doc_string = original.producer_name, original.doc_string
    onnx.save(graph, target)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """These tools log advice on the root logger."""
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logging.root.setLevel(level)
