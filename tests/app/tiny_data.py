"""A data set that a small network learns in seconds: the class is the colour channel that is brightest."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from app.datasets import Dataset, Split

LABELS = ("red", "green", "blue")


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """So small a network is slower on two threads, and much slower where they wait for a busy core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def colour_split(count: int, *, seed: int, size: tuple[int, int] = (8, 8)) -> Split:
    """`count` noisy images, classes in turn."""
    labels = np.arange(count) % len(LABELS)
    images = np.random.default_rng(seed).integers(0, 120, (count, *size, 3), dtype=np.uint8)
    images[np.arange(count), ..., labels] += 100
    return Split(images, labels.astype(np.int64))


def colour_dataset(
    *, train: int = 48, val: int = 21, size: tuple[int, int] = (8, 8), labels: tuple[str, ...] = LABELS
) -> Dataset:
    return Dataset(
        name="colours",
        digest="0" * 64,
        labels=labels,
        input_size=size,
        train=colour_split(train, seed=1, size=size),
        val=colour_split(val, seed=2, size=size),
        test=colour_split(15, seed=3, size=size),
        mirror_ok=True,
        folder=Path("nowhere"),
    )
