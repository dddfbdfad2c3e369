"""What an architecture costs, whatever its weights are."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from app.artifact import InputSpec, Lineage, Manifest
from app.conversion.latency import latency_ms
from app.conversion.onnx_export import export_onnx
from app.imaging import RESIZE_RULE
from app.inference import OnnxClassifier
from app.models import ServingModel, build_classifier
from app.models.summary import count_parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchitectureCost:
    parameters: int
    latency_ms: float
    """Median of one image: exported, ONNX Runtime, one thread."""


@functools.cache
def architecture_cost(name: str, num_classes: int, input_size: tuple[int, int]) -> ArchitectureCost:
    """Exports the network as it is at first and times it: seconds, once for each architecture.

    input_size: (height, width) in pixels. Raises BadInput for an unknown name or a size it cannot take.
    """
    classifier = build_classifier(name, num_classes, input_size)
    height, width = input_size
    manifest = Manifest(
        name=name,
        architecture=name,
        labels=tuple(map(str, range(num_classes))),
        input=InputSpec(height=height, width=width, resize=RESIZE_RULE),
        created="",
        lineage=Lineage(dataset="", dataset_digest="", git_commit="", run_id=""),
    )
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(ServingModel(classifier).eval(), manifest, path)
        images = np.zeros((1, height, width, 3), np.uint8)
        latency = latency_ms(OnnxClassifier(path).predict, images, [1])["1"]
    return ArchitectureCost(parameters=count_parameters(classifier.net), latency_ms=latency)
