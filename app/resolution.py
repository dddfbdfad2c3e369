"""Progressive resizing: early epochs on smaller images, which cost less (Howard 2018, the DAWNBench entries)."""

from __future__ import annotations

import torch
from torch.nn import functional

from app.settings import FitSettings

STEP = 4
"""Sides grow by so many pixels: pooling halves what it can."""


def epoch_size(settings: FitSettings, size: tuple[int, int], epoch: int, *, least: int) -> tuple[int, int]:
    """(height, width) of images in this epoch, counted from 0, for images of `size`.

    least: of either side, for the architecture.
    """
    assert settings.epochs is not None
    grown = epoch / (settings.epochs * settings.grow_until)
    if settings.grow_from == 1 or grown >= 1:
        return size
    share = settings.grow_from + (1 - settings.grow_from) * grown
    height, width = (min(side, max(least, STEP * round(share * side / STEP))) for side in size)
    return height, width


def resized(images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """float [N, 3, H, W] -> [N, 3, *size], smoothed, so that a finer pattern does not turn into a false one."""
    if tuple(images.shape[2:]) == size:
        return images
    smaller = functional.interpolate(images, size, mode="bilinear", antialias=True)
    return smaller.contiguous(memory_format=torch.channels_last)
