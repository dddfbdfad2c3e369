"""The network of the CIFAR-10 speed runs (Jordan 2024, "94% on CIFAR-10 in 3.29 seconds", arXiv:2404.00498).

A 2x2 convolution that whitens its patches and is not trained, then three groups of two convolutions. Two
things differ from the original: ReLU, which costs a CPU a fifth less time per image than GELU and which int8
kernels fuse, and the mean over the last feature map, with which later converters keep a dynamic batch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

WHITENED = 24
"""Channels behind the first convolution: the 12 directions of a 2x2 patch of three colours, and their negatives."""
LOGIT_SCALE = 1 / 9
"""The original's factor on the logits: with it the first steps at a high learning rate do not diverge."""
WHITENING_EPS = 5e-4
"""Added to the variances of patches, so that directions that hold only noise are not blown up."""

NO_VARIANCE = 1e-6
"""Directions of less, as the colours of grey images, hold rounding errors only: they are left out, not blown up."""


class ScaleFreeNorm(nn.BatchNorm2d):
    """Batch normalization that learns no scale; its statistics follow quickly, for runs of a few hundred steps."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-5, momentum=0.4)
        self.weight.requires_grad_(False)


class ConvGroup(nn.Sequential):
    """Convolution, pooling to half the size, convolution."""

    def __init__(self, inputs: int, outputs: int, activation: Callable[[], nn.Module]) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.MaxPool2d(2),
            ScaleFreeNorm(outputs),
            activation(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            ScaleFreeNorm(outputs),
            activation(),
        )
        begin_as_identity(self)


def begin_as_identity(group: nn.Module) -> None:
    """The first channels of each convolution pass on their inputs (a Dirac kernel)."""
    for module in group.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.dirac_(module.weight[: module.in_channels])


def relu() -> nn.Module:
    return nn.ReLU(inplace=True)


class Airbench(nn.Module):
    """images: float [N, 3, H, W] normalized, H and W at least 16. Returns logits [N, C]."""

    widths: tuple[int, int, int] = (64, 256, 256)

    def __init__(self, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.whitening = nn.Conv2d(3, WHITENED, 2)
        self.whitening.weight.requires_grad_(False)
        self.features = nn.Sequential(*self.layers())
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.widths[-1], num_classes, bias=False)
        nn.init.zeros_(self.whitening.bias)  # type: ignore[arg-type]  # it has one

    def layers(self) -> list[nn.Module]:
        """From whitened patches, [N, 24, H - 1, W - 1], to the last feature map."""
        inputs = (WHITENED, *self.widths[:-1])
        return [nn.ReLU(), *(ConvGroup(i, o, relu) for i, o in zip(inputs, self.widths, strict=True))]

    @torch.no_grad()
    def prepare(self, images: torch.Tensor) -> None:
        """Sets the first convolution so that it whitens 2x2 patches of these images, [N, 3, H, W] normalized."""
        patches = images.unfold(2, 2, 1).unfold(3, 2, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 12)
        covariance = patches.T @ patches / len(patches)
        variances, directions = torch.linalg.eigh(covariance.double().cpu())
        scales = (variances + WHITENING_EPS).rsqrt() * (variances > NO_VARIANCE)
        filters = (directions * scales).T.reshape(12, 3, 2, 2).flip(0)
        self.whitening.weight.copy_(torch.cat([filters, -filters]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.features(self.whitening(images)).mean((2, 3))
        return self.head(self.dropout(features)) * LOGIT_SCALE


class AirbenchHalf(Airbench):
    """Half the width: a quarter of the arithmetic."""

    widths = (32, 128, 128)
