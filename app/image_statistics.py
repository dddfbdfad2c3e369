"""What images look like, in four numbers each: cheap enough to be taken of live traffic, and the same in training."""

from __future__ import annotations

import numpy as np

NAMES = ("brightness", "contrast", "saturation", "sharpness")
"""The columns of `image_statistics`."""

_SAMPLED_SIDE = 64
"""Pixels. Of larger images every second, third, ... row and column is looked at, and the middle alone for sharpness."""
_AT_ONCE = 256
"""Images, so that a whole split takes little memory."""
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""ITU-R BT.601: what each of red, green and blue adds to how bright a pixel looks."""


def image_statistics(images: np.ndarray) -> np.ndarray:
    """float32 [N, 4], in the order of `NAMES`, all in levels of 0 to 255.

    brightness: mean of the luma; contrast: its standard deviation; saturation: mean difference between a pixel's
    largest and smallest channel; sharpness: mean absolute difference of neighbouring pixels' luma, across and down.
    images: uint8 [N, H, W, 3] RGB, at the model's input size.
    """
    statistics = np.empty((len(images), len(NAMES)), np.float32)
    for start in range(0, len(images), _AT_ONCE):
        statistics[start : start + _AT_ONCE] = _of_some(images[start : start + _AT_ONCE])
    return statistics


def _of_some(images: np.ndarray) -> np.ndarray:
    step = max(1, min(images.shape[1:3]) // _SAMPLED_SIDE)
    sampled = images[:, ::step, ::step]
    luma = sampled @ _LUMA
    spread = sampled.max(-1) - sampled.min(-1)
    middle = _middle(images) @ _LUMA
    across, down = np.abs(np.diff(middle, axis=2)), np.abs(np.diff(middle, axis=1))
    return np.stack(
        [luma.mean((1, 2)), luma.std((1, 2)), spread.mean((1, 2)), (_mean(across) + _mean(down)) / 2], axis=1
    )


def _middle(images: np.ndarray) -> np.ndarray:
    height, width = images.shape[1:3]
    top, left = max(0, height - _SAMPLED_SIDE) // 2, max(0, width - _SAMPLED_SIDE) // 2
    return images[:, top : top + _SAMPLED_SIDE, left : left + _SAMPLED_SIDE]


def _mean(differences: np.ndarray) -> np.ndarray:
    """float32 [N]: of each image's; 0 where there are no neighbours."""
    return differences.mean((1, 2)) if differences[0].size else np.zeros(len(differences), np.float32)
