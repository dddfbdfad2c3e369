"""Train-time augmentation of whole batches, on the device the batch is on.

What happens to an image is drawn for the whole global batch from seed, epoch and step (`draw`), so that it
does not depend on how many processes share the batch, nor on where a run was interrupted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from app.models.classifier import to_floats
from app.settings import FitSettings

GREY = 127.5
"""What cutout covers images with."""


@dataclass(frozen=True, slots=True)
class Draws:
    """One entry, or one row, for each image of a batch."""

    mirrored: torch.Tensor
    """bool [n]"""
    shift: torch.Tensor
    """float [n, 2]: down and to the right, as a share of height and width."""
    angle: torch.Tensor
    """float [n], radians."""
    colour: torch.Tensor
    """float [n, 3]: factors of brightness, contrast and saturation."""
    cutout: torch.Tensor
    """float [n, 2]: centre of the grey square, as a share of height and width."""

    def of(self, rows: slice | np.ndarray) -> Draws:
        """Those of some images of the batch."""
        return Draws(*(getattr(self, name)[rows] for name in self.__slots__))

    def to(self, device: torch.device) -> Draws:
        return Draws(*(getattr(self, name).to(device, non_blocking=True) for name in self.__slots__))


def joined(draws: Sequence[Draws]) -> Draws:
    """Those of several batches, one after the other."""
    return Draws(*(torch.cat([getattr(each, name) for each in draws]) for name in Draws.__slots__))


def draw(settings: FitSettings, index: np.ndarray, generator: np.random.Generator, *, flip: bool, epoch: int) -> Draws:
    """What happens in this epoch to the training images with these row numbers, [n]."""
    count = len(index)
    # Of shift (2), angle, colour (3) and cutout (2): the middle of the range, and how far it goes to either side.
    middle = np.array([0, 0, 0, 1, 1, 1, 0.5, 0.5], np.float32)
    limits = [settings.shift, math.radians(settings.rotate), settings.colour, 0.5]
    reach = np.repeat(np.array(limits, np.float32), [2, 1, 3, 2])
    numbers = torch.from_numpy(middle + reach * (2 * generator.random((count, 8), np.float32) - 1))
    if not flip:
        mirrored = torch.zeros(count, dtype=torch.bool)
    elif settings.alternate_flip:
        mirrored = alternating(index, settings.seed, epoch)
    else:
        mirrored = torch.from_numpy(generator.random(count) < 0.5)
    shift, angle, colour, cutout = numbers.split([2, 1, 3, 2], dim=1)
    return Draws(mirrored=mirrored, shift=shift, angle=angle[:, 0], colour=colour, cutout=cutout)


def alternating(index: np.ndarray, seed: int, epoch: int) -> torch.Tensor:
    """bool [n]: each image is mirrored in every other epoch, half of them from the first on (Jordan 2024).

    Two epochs then show every image in both ways, which by chance happens to half of them only.
    """
    mixed = (index.astype(np.uint64) + np.uint64(seed)) * np.uint64(0x9E3779B97F4A7C15)  # Knuth's multiplicative hash
    return torch.from_numpy(((mixed >> np.uint64(40)) + np.uint64(epoch)) % np.uint64(2) == 1)


def augment(images: torch.Tensor, draws: Draws, settings: FitSettings) -> torch.Tensor:
    """uint8 [N, H, W, 3] -> float32 [N, 3, H, W] in 0..255, each image changed by what was drawn for it."""
    floats = to_floats(images)
    if settings.rotate > 0:
        floats = rotated(floats, draws)
    elif settings.shift > 0 or draws.mirrored.any():
        floats = moved(floats, draws)
    if settings.colour > 0:
        floats = coloured(floats, draws.colour)
    if settings.cutout > 0:
        floats = cut_out(floats, draws.cutout, settings.cutout)
    return floats.contiguous(memory_format=torch.channels_last)


def moved(images: torch.Tensor, draws: Draws) -> torch.Tensor:
    """[N, 3, H, W] mirrored and shifted by whole pixels, in one gather; the border reflects."""
    count, channels, height, width = images.shape
    rows = _reflected(torch.arange(height, device=images.device), draws.shift[:, 0], height)
    columns = _reflected(torch.arange(width, device=images.device), draws.shift[:, 1], width)
    columns = torch.where(draws.mirrored[:, None], width - 1 - columns, columns)
    pixels = (rows[:, :, None] * width + columns[:, None, :]).view(count, 1, -1)
    return images.flatten(2).gather(2, pixels.expand(-1, channels, -1)).view(images.shape)


def _reflected(positions: torch.Tensor, shift: torch.Tensor, size: int) -> torch.Tensor:
    """[N, size]: where each position of a shifted image is read from."""
    source = positions - (shift[:, None] * size).round().long()
    return size - 1 - (size - 1 - source.abs()).abs()


def rotated(images: torch.Tensor, draws: Draws) -> torch.Tensor:
    """float [N, 3, H, W] mirrored, shifted and rotated in one bilinear sampling step; the border reflects."""
    _, _, height, width = images.shape
    side = 1 - 2 * draws.mirrored.float()
    cos, sin = torch.cos(draws.angle), torch.sin(draws.angle)
    # Where a pixel is read from, (x, y), is a sum of what its column and its row add. The units are half widths and
    # half heights, so a rotation needs the aspect ratio.
    across = torch.stack([side * cos, sin * width / height], 1)
    down = torch.stack([-side * sin * height / width, cos], 1)
    start = torch.stack([-2 * side * draws.shift[:, 1], -2 * draws.shift[:, 0]], 1)
    columns = start[:, None] + across[:, None] * _centres(width, images.device)[:, None]
    rows = down[:, None] * _centres(height, images.device)[:, None]
    # As complex numbers x + iy, one addition for each pixel: a third of the time of two, and affine_grid takes longer
    # than the sampling itself.
    grid = torch.view_as_real(torch.view_as_complex(columns)[:, None] + torch.view_as_complex(rows)[:, :, None])
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def _centres(size: int, device: torch.device) -> torch.Tensor:
    """[size]: middles of pixels, from -1 to 1 at the image's edges."""
    return (2 * torch.arange(size, device=device) + 1) / size - 1


def coloured(images: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Brightness, contrast and saturation of each image [N, 3, H, W] times its three factors, [N, 3].

    Saturation moves a pixel from its own grey, contrast from the image's mean grey. Together with brightness they
    are one matrix and one offset for each image, so that the batch is gone through once.
    """
    brightness, contrast, saturation = factors.view(-1, 3, 1, 1).unbind(1)
    own = (brightness * contrast * saturation) * torch.eye(3, device=images.device)
    of_grey = (brightness * contrast * (1 - saturation) / 3).expand(-1, 3, 3)
    offset = brightness * (1 - contrast) * images.mean((1, 2, 3)).view(-1, 1, 1)
    return torch.baddbmm(offset, own + of_grey, images.flatten(2)).view(images.shape).clamp_(0, 255)


def cut_out(images: torch.Tensor, centres: torch.Tensor, side: float) -> torch.Tensor:
    """Lays a grey square over each image [N, 3, H, W] (DeVries and Taylor 2017, arXiv:1708.04552).

    centres: [N, 2]; side: share of the image's sides. Near a border part of the square lies outside.
    """
    height, width = images.shape[2:]
    hidden = _near(height, centres[:, 0], side)[:, :, None] & _near(width, centres[:, 1], side)[:, None, :]
    return images.masked_fill(hidden[:, None], GREY)


def _near(size: int, centre: torch.Tensor, side: float) -> torch.Tensor:
    """bool [N, size]: positions within half a side of each centre; all as shares of `size`."""
    middle = (torch.arange(size, device=centre.device) + 0.5) / size
    return (middle - centre[:, None]).abs() < side / 2


@dataclass(frozen=True, slots=True)
class Mixing:
    """How the images of a global batch are combined in pairs; image i is mixed with image `partner[i]`."""

    partner: np.ndarray
    """int [n]"""
    share: float
    """Of the image itself; its partner has the rest."""
    box: tuple[slice, slice] | None
    """Rows and columns that cutmix takes from the partner; None for mixup."""


def draw_mixing(
    settings: FitSettings, count: int, size: tuple[int, int], generator: np.random.Generator
) -> Mixing | None:
    """Mixup (Zhang et al. 2018, arXiv:1710.09412) or cutmix (Yun et al. 2019, arXiv:1905.04899) of one batch."""
    if not (settings.mixup or settings.cutmix):
        return None
    alpha = settings.mixup or settings.cutmix
    share, partner = float(generator.beta(alpha, alpha)), generator.permutation(count)
    if settings.mixup:
        return Mixing(partner, share, None)
    sides = [round(length * math.sqrt(1 - share)) for length in size]
    starts = [int(generator.integers(0, length - side + 1)) for length, side in zip(size, sides, strict=True)]
    rows, columns = (slice(start, start + side) for start, side in zip(starts, sides, strict=True))
    return Mixing(partner, 1 - sides[0] * sides[1] / (size[0] * size[1]), (rows, columns))


def mixed(images: torch.Tensor, partners: torch.Tensor, mixing: Mixing) -> torch.Tensor:
    """Both float [N, 3, H, W], augmented already."""
    if mixing.box is None:
        return torch.lerp(partners, images, mixing.share)
    rows, columns = mixing.box
    combined = images.clone()
    combined[:, :, rows, columns] = partners[:, :, rows, columns]
    return combined
