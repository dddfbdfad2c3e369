"""Train-time augmentation of whole batches, on the device the batch is on."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from app.models.classifier import to_floats
from app.settings import FitSettings


def augment(images: torch.Tensor, settings: FitSettings, *, flip: bool) -> torch.Tensor:
    """uint8 [N, H, W, 3] -> float32 [N, 3, H, W] in 0..255, each image changed at random by itself.

    Draws from torch's global random state, which the training loop seeds for every epoch.
    """
    floats = to_floats(images)
    if flip:
        floats = random_flip(floats)
    if settings.shift > 0 or settings.rotate > 0:
        floats = random_move(floats, settings.shift, settings.rotate)
    if settings.colour > 0:
        floats = colour_jitter(floats, settings.colour)
    return floats


def random_flip(images: torch.Tensor) -> torch.Tensor:
    """Mirrors each image left to right with probability one half."""
    mirrored = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
    return torch.where(mirrored, images.flip(3), images)


def random_move(images: torch.Tensor, shift: float, rotate: float) -> torch.Tensor:
    """Shifts and rotates each image in one bilinear sampling step; what moves in from outside is a mirror image.

    shift: largest shift as a share of height and width. rotate: largest angle in degrees.
    """
    count, _, height, width = images.shape
    angle = _uniform(count, math.radians(rotate), images)
    cos, sin = torch.cos(angle), torch.sin(angle)
    matrix = torch.stack(
        [
            # The grid's units are half heights and half widths, so a rotation needs the aspect ratio.
            torch.stack([cos, -sin * height / width, _uniform(count, 2 * shift, images)], 1),
            torch.stack([sin * width / height, cos, _uniform(count, 2 * shift, images)], 1),
        ],
        1,
    )
    grid = functional.affine_grid(matrix, [count, 3, height, width], align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def colour_jitter(images: torch.Tensor, strength: float) -> torch.Tensor:
    """Changes brightness, contrast and saturation of each image, each by a factor in 1 +- strength."""
    count = len(images)
    brightness, contrast, saturation = (1 + _uniform(count, strength, images).view(-1, 1, 1, 1) for _ in range(3))
    images = images * brightness
    grey = images.mean(1, keepdim=True)
    images = torch.lerp(grey, images, saturation)
    images = torch.lerp(grey.mean((2, 3), keepdim=True), images, contrast)
    return images.clamp(0, 255)


def _uniform(count: int, limit: float, like: torch.Tensor) -> torch.Tensor:
    return (torch.rand(count, device=like.device) * 2 - 1) * limit
