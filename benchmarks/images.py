"""A folder of small synthetic JPEGs that a network can learn to tell apart."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from app.dataset_layout import SplitName

CLASSES = 10
SIDE = 32
PER_CLASS: Mapping[SplitName, int] = {"train": 800, "val": 100, "test": 100}
"""10,000 images in all."""
_CELLS = 4
_NOISE = 60


def write_class_folders(root: Path, per_class: Mapping[SplitName, int] = PER_CLASS) -> Path:
    """Writes `<split>/<class>/<number>.jpg` below `root` and returns it.

    Each class is a coarse pattern of its own under much noise, as large on disk as a photograph of that size.
    """
    generator = np.random.default_rng(0)
    patterns = generator.integers(0, 256 - _NOISE, (CLASSES, _CELLS, _CELLS, 3))
    for split, count in per_class.items():
        for label in range(CLASSES):
            folder = root / split / f"class{label}"
            folder.mkdir(parents=True)
            for number in range(count):
                noisy = patterns[label] + generator.integers(0, _NOISE, (_CELLS, _CELLS, 3))
                image = cv2.resize(noisy.astype(np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
                (folder / f"{number:05}.jpg").write_bytes(cv2.imencode(".jpg", image)[1].tobytes())
    return root
