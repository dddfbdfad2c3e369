"""`--batch-size auto`: the largest batch that fits in memory and still makes an epoch shorter."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import psutil
import torch
from torch import nn
from torch.nn import functional

SMALLEST, LARGEST = 32, 1024
WORTHWHILE = 1.05
"""A batch twice as large has to process this many times as many images a second."""
MEMORY_SHARE = 0.5
"""Of the free memory of a CPU that a step may take."""
SECONDS = 0.5
"""Of measuring each size."""
MIN_STEPS = 30
"""An epoch has at least so many, as with the default batch size: running statistics have to keep up."""


def fastest_batch_size(model: nn.Module, image_size: tuple[int, int], count: int, device: torch.device) -> int:
    """Images per step for `count` training images, measured on this device; the model is left as it was.

    It doubles the batch until memory ends or a larger one no longer pays.
    """
    state = {name: value.clone() for name, value in model.state_dict().items()}
    try:
        return choose(candidates(count), lambda size: images_per_second(model, image_size, size, device))
    finally:
        model.load_state_dict(state)
        model.zero_grad(set_to_none=True)


def candidates(count: int) -> Iterator[int]:
    """Sizes to try, each twice the one before, for `count` training images."""
    size = min(SMALLEST, max(2, count // 2))
    yield size
    while 2 * size <= LARGEST and count // (2 * size) >= MIN_STEPS:
        size *= 2
        yield size


def choose(sizes: Iterator[int], speed: Callable[[int], float | None]) -> int:
    """The last size before one that does not fit (None) or does not pay. The first is taken in any case."""
    best = next(sizes)
    fastest = speed(best) or 0.0
    for size in sizes:
        measured = speed(size)
        if measured is None or measured < WORTHWHILE * fastest:
            break
        best, fastest = size, measured
    return best


def images_per_second(model: nn.Module, image_size: tuple[int, int], size: int, device: torch.device) -> float | None:
    """Of forward and backward passes with `size` images; None when they do not fit in memory."""
    free = psutil.virtual_memory().available
    try:
        images = torch.rand(size, 3, *image_size, device=device).contiguous(memory_format=torch.channels_last)
        labels = torch.zeros(size, dtype=torch.int64, device=device)
        before = psutil.Process().memory_info().rss
        _step(model, images, labels)
        if device.type == "cpu" and psutil.Process().memory_info().rss - before > MEMORY_SHARE * free:
            return None
        steps, started = 0, time.perf_counter()
        while steps < 2 or time.perf_counter() - started < SECONDS:
            _step(model, images, labels)
            steps += 1
        return steps * size / (time.perf_counter() - started)
    except (torch.OutOfMemoryError, MemoryError):
        return None


def _step(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
    model.train()
    functional.cross_entropy(model(images), labels).backward()
    if images.device.type == "cuda":
        torch.cuda.synchronize()
