"""Synthetic class folders are a data set like any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from app.datasets import prepare
from benchmarks.images import CLASSES, PER_CLASS, write_class_folders


def test_class_folders_of_decodable_images(tmp_path: Path) -> None:
    folder = write_class_folders(tmp_path / "images", {"train": 4, "val": 2, "test": 2})
    dataset = prepare(str(folder), cache=tmp_path / "cache")
    assert dataset.train.images.shape == (40, 32, 32, 3)
    assert not dataset.skipped
    assert len(np.unique(dataset.train.images, axis=0)) == 40


def test_at_least_ten_thousand() -> None:
    assert CLASSES * sum(PER_CLASS.values()) >= 10_000
