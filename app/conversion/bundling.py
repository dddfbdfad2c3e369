"""From a trained network to a finished bundle: export, measure, gate, seal; and more variants for a finished one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from app import checkpoint
from app.artifact import CHECKPOINT_FILE, MODEL_FILE, InputSpec, Lineage, Manifest, Variant, write_manifest
from app.checkpoint import ModelCard
from app.conversion.answers import Answers, compare_answers
from app.conversion.latency import interleaved_latency_ms, latency_ms
from app.conversion.onnx_export import export_onnx
from app.conversion.variants import FP32, KINDS, Kind, load_variant
from app.datasets import Split
from app.evaluate import Predict, accuracy, batch_size_of, max_difference, predict_in_batches
from app.gates import ACCURACY_LOSS_LIMIT, PARITY_LIMIT, VARIANT_LOSS_LIMIT, Gate, require
from app.imaging import RESIZE_RULE
from app.inference import OnnxClassifier
from app.models import ImageClassifier, ServingModel
from app.reference import reference_of, write_reference
from app.self_test import read_self_test, typical_image, write_self_test

PARITY_BATCHES = (1, 7, 64)
LATENCY_BATCHES = (1, 32)
SPEED_BATCHES = ("1", "32")
"""A variant has to be faster at one of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A finished bundle and what was measured of it on the held-out split."""

    manifest: Manifest
    pytorch_accuracy: float
    onnx_accuracy: float
    max_error: float
    """Largest difference of a probability between the two."""
    probabilities: np.ndarray
    """float32 [N, C]: the graph's answers to that split."""
    reference: np.ndarray
    """float32 [N, C]: the PyTorch model's."""


def write_bundle(
    folder: Path, card: ModelCard, classifier: ImageClassifier, test: Split, *, name: str, lineage: Lineage
) -> Measured:
    """Writes a complete bundle into the empty `folder`.

    Raises GateFailed, saying by how much, when the graph does not answer as the PyTorch model does.
    """
    height, width = card.input_size
    manifest = Manifest(
        name=name,
        architecture=card.architecture,
        labels=card.labels,
        input=InputSpec(height=height, width=width, resize=RESIZE_RULE),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        lineage=lineage,
    )
    model = ServingModel(classifier).eval()
    export_onnx(model, manifest, folder / MODEL_FILE)
    checkpoint.save(checkpoint.weights_only(card, classifier), folder / CHECKPOINT_FILE)

    reference = torch_predict(model)
    expected = predict_in_batches(reference, test.images)
    pytorch_accuracy = accuracy(expected, test.labels)
    candidate = OnnxClassifier(folder / MODEL_FILE).predict
    probabilities = predict_in_batches(candidate, test.images)
    sizes = [size for size in PARITY_BATCHES if size <= batch_size_of(test.images)]
    in_batches = max_difference(reference, candidate, test.images, sizes)
    answers = compare_answers(probabilities, expected, test.labels)
    max_error = float(np.max([in_batches, answers.max_error]))  # NaN where there is any
    onnx_accuracy = accuracy(probabilities, test.labels)
    require(
        [
            Gate("difference from the PyTorch model", max_error, PARITY_LIMIT),
            Gate("loss of accuracy", pytorch_accuracy - onnx_accuracy, ACCURACY_LOSS_LIMIT),
        ]
    )
    sample = typical_image(probabilities, test.labels)
    label = card.labels[test.labels[sample]]
    write_self_test(folder, test.images[sample], label, {FP32: candidate(test.images[sample : sample + 1])[0]})
    write_reference(folder, reference_of(test.images, probabilities))
    variant = Variant(
        file=MODEL_FILE,
        bytes=(folder / MODEL_FILE).stat().st_size,
        accuracy=onnx_accuracy,
        max_error=max_error,
        mean_error=answers.mean_error,
        latency_ms=latency_ms(candidate, test.images, LATENCY_BATCHES),
    )
    manifest = write_manifest(folder, dataclasses.replace(manifest, variants={"fp32": variant}))
    return Measured(
        manifest=manifest,
        pytorch_accuracy=pytorch_accuracy,
        onnx_accuracy=onnx_accuracy,
        max_error=max_error,
        probabilities=probabilities,
        reference=expected,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A variant's file before its gates."""

    name: str
    answers: Answers | None = None
    """None when it could not be built."""
    made_with: dict[str, Any] = field(default_factory=dict)
    failure: str = ""


def add_variants(
    folder: Path,
    manifest: Manifest,
    built: Sequence[Built],
    images: np.ndarray,
    *,
    accuracy_loss_limit: float = VARIANT_LOSS_LIMIT,
) -> Manifest:
    """Measures the latency of all variants in turns, judges each, deletes what is rejected, and seals the bundle again.

    folder: a finished bundle in which the files of `built` lie too. images: uint8 [N, H, W, 3].
    """
    files = {FP32: MODEL_FILE, **{each.name: KINDS[each.name].file for each in built if each.answers is not None}}
    latency = interleaved_latency_ms({name: load_variant(folder / file) for name, file in files.items()}, images)
    fp32 = dataclasses.replace(manifest.variants[FP32], latency_ms=latency[FP32])
    variants = {FP32: fp32}
    for each in built:
        kind = KINDS[each.name]
        if each.answers is None:
            variants[each.name] = Variant(
                file=kind.file, bytes=None, accuracy=None, max_error=None, status="rejected", reason=each.failure
            )
            continue
        assert fp32.accuracy is not None
        loss = Gate("loss of accuracy", fp32.accuracy - each.answers.accuracy, accuracy_loss_limit)
        reasons = rejections(kind, each.answers, loss, latency)
        variants[each.name] = Variant(
            file=kind.file,
            bytes=(folder / kind.file).stat().st_size,
            accuracy=each.answers.accuracy,
            max_error=each.answers.max_error,
            mean_error=each.answers.mean_error,
            latency_ms=latency[each.name],
            status="rejected" if reasons else "ok",
            reason="; ".join(reasons) or kind.note,
            made_with=each.made_with,
        )
    for variant in variants.values():
        if variant.status == "rejected":
            (folder / variant.file).unlink(missing_ok=True)
    _extend_self_test(folder, manifest, variants)
    return write_manifest(folder, dataclasses.replace(manifest, variants=variants))


def _extend_self_test(folder: Path, manifest: Manifest, variants: Mapping[str, Variant]) -> None:
    """The answers of the accepted variants too, where the bundle has a self-test."""
    known = read_self_test(folder, manifest)
    if known is None:
        return
    graphs = {name: folder / each.file for name, each in variants.items() if each.status == "ok"}
    answers = {name: load_variant(path)(known.pixels[np.newaxis])[0] for name, path in graphs.items()}
    write_self_test(folder, known.pixels, known.label, answers)


def rejections(kind: Kind, answers: Answers, loss: Gate, latency: Mapping[str, Mapping[str, float]]) -> list[str]:
    """What speaks against a variant, with figures; empty when every gate is passed.

    latency: {variant: {batch size: milliseconds}}, of one thread.
    """
    gates = [Gate("mean error of its answers", answers.mean_error, kind.error_limit), loss]
    reasons = [str(gate) for gate in gates if not gate.passed]
    if kind.faster_than is not None:
        mine, other = latency[kind.name], latency[kind.faster_than]
        sizes = [size for size in SPEED_BATCHES if size in mine]
        if not any(mine[size] < other[size] for size in sizes):
            figures = ", ".join(f"{mine[size]:.3g} ms to {other[size]:.3g} at batch {size}" for size in sizes)
            reasons.append(f"not faster than {kind.faster_than}: {figures}")
    return reasons


def torch_predict(model: ServingModel) -> Predict:
    def predict(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            probabilities: np.ndarray = model(torch.from_numpy(np.require(images, requirements="W"))).numpy()
        return probabilities

    return predict
