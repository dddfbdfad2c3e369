"""The data sets that Manta knows by name: `digits`, inside scikit-learn, and `cifar10`, a download."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.dataset_layout import CARVED_SHARE, FLAT_SHARES, SPLITS, SplitName, carve
from app.errors import BadDataset

CIFAR10_LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
DIGIT_LABELS = tuple("0123456789")
DIGIT_COUNTS: Mapping[SplitName, int] = {"train": 1259, "val": 179, "test": 359}
CIFAR10_COUNTS: Mapping[SplitName, int] = {"train": 45_000, "val": 5_000, "test": 10_000}

_DIGIT_MAX = 16
"""scikit-learn's digits are counts of ink from 0 to 16."""
_DOWNLOAD_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class ArraySplit:
    """images: uint8 [N, H, W, 3] RGB in memory. labels: int64 [N]."""

    images: np.ndarray
    labels: np.ndarray


def digits() -> dict[SplitName, ArraySplit]:
    """1,797 grey 8x8 images as three equal channels, split 70/10/20 by class."""
    from sklearn.datasets import load_digits

    source = load_digits()
    grey = np.rint(source.images * (255 / _DIGIT_MAX)).astype(np.uint8)
    images = np.repeat(grey[..., None], 3, axis=-1)
    labels = source.target.astype(np.int64)
    parts = carve(labels, DIGIT_LABELS, FLAT_SHARES)
    return {split: ArraySplit(images[parts[split]], labels[parts[split]]) for split in SPLITS}


def cifar10(downloads: Path) -> dict[SplitName, ArraySplit]:
    """60,000 images of 32x32, 10 % of its training images held out by class for validation.

    Looks for torchvision's `cifar-10-batches-py` in `downloads` and fetches it when it is not there.
    Raises BadDataset when that cannot be done.
    """
    train, test = _cifar10_part(downloads, train=True), _cifar10_part(downloads, train=False)
    parts = carve(train.labels, CIFAR10_LABELS, {"val": CARVED_SHARE})
    kept, val = parts["train"], parts["val"]
    return {
        "train": ArraySplit(train.images[kept], train.labels[kept]),
        "val": ArraySplit(train.images[val], train.labels[val]),
        "test": test,
    }


def _cifar10_part(downloads: Path, *, train: bool) -> ArraySplit:
    from torchvision.datasets import CIFAR10

    downloads.mkdir(parents=True, exist_ok=True)
    try:
        with _socket_timeout(_DOWNLOAD_TIMEOUT_S):
            part = CIFAR10(str(downloads), train=train, download=True)
    except (OSError, RuntimeError) as error:
        raise BadDataset(
            f"cifar10 cannot be downloaded ({error}); "
            f"put cifar-10-batches-py into {downloads}, or give a folder or zip of its images"
        ) from error
    return ArraySplit(np.asarray(part.data, np.uint8), np.array(part.targets, np.int64))


@contextlib.contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """torchvision sets none: behind a firewall that drops packets it would wait for minutes."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
