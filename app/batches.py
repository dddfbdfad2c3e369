"""Batches of a split: which rows, in which order, and on which device."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import TypeVar

import numpy as np
import torch

from app.datasets import Split
from app.settings import FitSettings

S = TypeVar("S", bound=FitSettings)
T = TypeVar("T")

DEVICE_BUDGET_BYTES = 4 * 2**30
"""A split larger than this is not kept on an accelerator but copied there batch by batch."""


class DeviceSplit:
    """A split that hands out batches on the device.

    On an accelerator a split within the budget is copied there once; everything else is read where it
    lies, which for a memory-mapped dataset keeps memory bounded by the page cache.
    """

    def __init__(self, split: Split, device: torch.device) -> None:
        self.device = device
        # Without the memory map's own class, which takes longer to index; the map itself stays.
        self._images = np.asarray(split.images)
        self._resident: torch.Tensor | None = None
        if device.type != "cpu" and self._images.nbytes <= DEVICE_BUDGET_BYTES:
            self._resident = torch.from_numpy(np.array(self._images)).to(device)
        self._labels = torch.from_numpy(np.array(split.labels, dtype=np.int64)).to(device)

    def __len__(self) -> int:
        return len(self._labels)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        height, width = self._images.shape[1:3]
        return height, width

    def take(self, index: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """images uint8 [n, H, W, 3] and labels int64 [n] of these rows, on the device."""
        rows = torch.from_numpy(index).to(self.device)
        if self._resident is not None:
            return self._resident[rows], self._labels[rows]
        images = torch.from_numpy(self._images.take(index, axis=0))
        if self.device.type == "cuda":
            images = images.pin_memory()
        return images.to(self.device, non_blocking=True), self._labels[rows]


def steps_per_epoch(count: int, batch_size: int) -> int:
    """An incomplete last batch is left out: its images come at another place in the next order."""
    return max(1, count // batch_size)


def default_batch_size(count: int, processes: int = 1) -> int:
    """64, and less where an epoch would have fewer than 30 steps: running statistics have to keep up.

    At least 8 in all and 4 for each process.
    """
    size = max(64, 8 * processes)
    while size // 2 >= max(8, 4 * processes) and count // size < 30:
        size //= 2
    return size


def default_epochs(count: int, batch_size: int) -> int:
    """20, and up to 60 where that many are needed for about 1,200 optimizer steps."""
    return min(60, max(20, 1200 // steps_per_epoch(count, batch_size)))


def with_defaults(settings: S, count: int, processes: int) -> S:
    """Settings with the batch size and epochs that suit `count` training images, where none are given.

    A batch size of `auto` stays: it is measured where the training runs.
    """
    suitable = default_batch_size(count, processes)
    batch_size = settings.batch_size or suitable
    epochs = settings.epochs or default_epochs(count, batch_size if isinstance(batch_size, int) else suitable)
    return dataclasses.replace(settings, batch_size=batch_size, epochs=epochs)


def global_batches(count: int, batch_size: int, *, seed: int, epoch: int) -> Iterator[np.ndarray]:
    """Row numbers of each global batch; the same in every process, another order in every epoch."""
    order = np.random.default_rng((seed, epoch)).permutation(count)
    for step in range(steps_per_epoch(count, batch_size)):
        yield order[step * batch_size : (step + 1) * batch_size]


def channel_statistics(images: np.ndarray, sample: int = 2048) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel, 0..255, over an evenly spread sample of [N, H, W, 3].

    A deviation is at least 1, so that a channel without any can be divided by it.
    """
    chosen = images[:: math.ceil(len(images) / sample)]
    counts = np.zeros((3, 256), np.int64)  # image by image: the sample as floats can be larger than memory
    for image in chosen:
        counts += [np.bincount(image[..., channel].ravel(), minlength=256) for channel in range(3)]
    values, shares = np.arange(256), counts / counts.sum(1, keepdims=True)
    mean = shares @ values
    variance = (shares * (values - mean[:, None]) ** 2).sum(1)
    return mean.tolist(), np.maximum(np.sqrt(variance), 1.0).tolist()
