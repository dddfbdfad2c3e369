"""Two real bundles of the default network for 32x32 images, exported with random weights: nothing is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from app.artifact import Bundle, Lineage, open_bundle
from app.checkpoint import ModelCard
from app.conversion.bundling import write_bundle
from app.datasets import Split
from app.imaging import load
from app.models import ImageClassifier, build_classifier
from app.models.classifier import to_floats

MODEL = "benchmark"
SIDE = 32
SPREAD = 3.0
"""Standard deviation of the logits."""
LABELS = tuple(f"class {number}" for number in range(10))


def write_bundles(folder: Path, images: Sequence[bytes]) -> tuple[Bundle, Bundle]:
    """images: JPEGs that the export's parity is checked with."""
    pixels = np.stack([load(image, SIDE, SIDE) for image in images])
    split = Split(pixels, np.arange(len(images)) % len(LABELS))
    card = ModelCard(architecture="custom_cnn", labels=LABELS, input_size=(SIDE, SIDE))
    bundles = []
    for number in (1, 2):
        torch.manual_seed(number)
        classifier = build_classifier(card.architecture, len(LABELS), card.input_size).eval()
        _make_decided(classifier, pixels)
        target = folder / f"version-{number}"
        target.mkdir(parents=True)
        write_bundle(target, card, classifier, split, name=MODEL, lineage=Lineage(command="benchmarks.serving"))
        bundles.append(open_bundle(target))
    return bundles[0], bundles[1]


def _make_decided(classifier: ImageClassifier, pixels: np.ndarray) -> None:
    """Random weights give every class the same probability, nearly: then no wrong answer would be noticed."""
    head = classifier.net.get_submodule("head")
    assert isinstance(head, nn.Linear)
    floats = to_floats(torch.from_numpy(pixels))
    with torch.no_grad():
        head.weight.mul_(SPREAD / classifier(floats).std(0).mean())
        head.bias.sub_(classifier(floats).mean(0))
