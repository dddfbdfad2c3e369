"""One image of a bundle, and what each of its graphs answered to it where the bundle was made.

    selftest.png     an image of the test split, at the model's input size
    selftest.json    {"label": "green", "answers": {"fp32": [0.1, 0.8, 0.1], ...}}: probabilities, in the labels' order

Whoever is about to answer with a graph runs it on that image first: a graph that was changed and sealed again, or that
this machine computes in another way, gives itself away. Bundles made before there was one have neither file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.artifact import Manifest, require_intact
from app.errors import BadImage, BrokenBundle
from app.imaging import encode_png, load

IMAGE_FILE = "selftest.png"
ANSWERS_FILE = "selftest.json"

FP32_LIMIT = 1e-3
"""Largest difference of a probability. Other CPUs and batch sizes round otherwise: 1e-6 for most networks."""
ROUNDED_LIMIT = 0.05
"""The same of a graph in fewer bits. An int8 graph on a CPU that saturates where another does not is far above it."""


@dataclass(frozen=True, slots=True)
class SelfTest:
    pixels: np.ndarray
    """uint8 [H, W, 3] RGB, decoded and resized as any other image."""
    label: str
    """What the image shows."""
    answers: Mapping[str, np.ndarray]
    """float32 [C] by variant."""

    def check(self, variant: str, probabilities: np.ndarray) -> None:
        """probabilities: float32 [C], what the graph answers here. Raises BrokenBundle when that differs."""
        expected = self.answers.get(variant)
        if expected is None:
            return
        if probabilities.shape != expected.shape:
            raise BrokenBundle(f"self-test: {len(probabilities)} probabilities, expected {len(expected)}")
        difference = float(np.abs(probabilities.astype(np.float64) - expected).max())
        limit = FP32_LIMIT if variant == "fp32" else ROUNDED_LIMIT
        if not difference <= limit:  # NaN is no number below the limit
            raise BrokenBundle(
                f"self-test: the {variant} graph answers class {probabilities.argmax()} with "
                f"{probabilities.max():.4f} to {IMAGE_FILE}, expected class {expected.argmax()} with "
                f"{expected.max():.4f} (difference {difference:.3g}, limit {limit:g})"
            )


def write_self_test(folder: Path, image: np.ndarray, label: str, answers: Mapping[str, np.ndarray]) -> None:
    """Into a bundle that is sealed afterwards. image: uint8 [H, W, 3] RGB; answers: float32 [C] by variant."""
    (folder / IMAGE_FILE).write_bytes(encode_png(image))
    content = {"label": label, "answers": {variant: row.tolist() for variant, row in answers.items()}}
    (folder / ANSWERS_FILE).write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")


def read_self_test(folder: Path, manifest: Manifest) -> SelfTest | None:
    """None for a bundle without one. Raises BrokenBundle for one that is damaged, or not the manifest's."""
    if not {IMAGE_FILE, ANSWERS_FILE} <= manifest.files.keys():
        return None
    image, answers_text = (require_intact(folder, manifest, name) for name in (IMAGE_FILE, ANSWERS_FILE))
    try:
        pixels = load(image.read_bytes(), manifest.input.height, manifest.input.width)
        content = json.loads(answers_text.read_text(encoding="utf-8"))
        answers = {variant: np.array(row, np.float32) for variant, row in content["answers"].items()}
        return SelfTest(pixels, content["label"], answers)
    except (BadImage, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BrokenBundle(f"bundle {folder}: the self-test cannot be read: {error}") from error


def typical_image(probabilities: np.ndarray, labels: np.ndarray) -> int:
    """The index of an image answered right with the middle confidence of those, or of all where none is right.

    Neither one that any graph would get right, nor one on the edge between two classes.
    """
    confidence = probabilities.max(1)
    right = np.flatnonzero(probabilities.argmax(1) == labels)
    candidates = right if len(right) else np.arange(len(labels))
    return int(candidates[np.argsort(confidence[candidates], kind="stable")[len(candidates) // 2]])
