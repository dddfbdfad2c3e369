"""From a trained network to a finished bundle: export, measure, gate, seal."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from app import checkpoint
from app.artifact import CHECKPOINT_FILE, MODEL_FILE, InputSpec, Lineage, Manifest, Variant, write_manifest
from app.checkpoint import ModelCard
from app.datasets import Split
from app.evaluate import Predict, accuracy, max_difference, median_latency_ms, predict_in_batches
from app.gates import ACCURACY_LOSS_LIMIT, PARITY_LIMIT, Gate, require
from app.imaging import RESIZE_RULE
from app.inference import OnnxClassifier
from app.models import ImageClassifier, ServingModel
from app.onnx_export import export_onnx

PARITY_BATCHES = (1, 7, 64)
LATENCY_BATCHES = (1, 32)


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
    pytorch_accuracy = accuracy(predict_in_batches(reference, test.images), test.labels)
    candidate = OnnxClassifier(folder / MODEL_FILE).predict
    max_error = max_difference(reference, candidate, test.images, PARITY_BATCHES)
    probabilities = predict_in_batches(candidate, test.images)
    onnx_accuracy = accuracy(probabilities, test.labels)
    require(
        [
            Gate("difference from the PyTorch model", max_error, PARITY_LIMIT),
            Gate("loss of accuracy", pytorch_accuracy - onnx_accuracy, ACCURACY_LOSS_LIMIT),
        ]
    )
    variant = Variant(
        file=MODEL_FILE,
        bytes=(folder / MODEL_FILE).stat().st_size,
        accuracy=onnx_accuracy,
        max_error=max_error,
        latency_ms={str(size): median_latency_ms(candidate, test.images, size) for size in LATENCY_BATCHES},
    )
    manifest = write_manifest(folder, dataclasses.replace(manifest, variants={"fp32": variant}))
    return Measured(
        manifest=manifest,
        pytorch_accuracy=pytorch_accuracy,
        onnx_accuracy=onnx_accuracy,
        max_error=max_error,
        probabilities=probabilities,
    )


def torch_predict(model: ServingModel) -> Predict:
    def predict(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            probabilities: np.ndarray = model(torch.from_numpy(np.require(images, requirements="W"))).numpy()
        return probabilities

    return predict
