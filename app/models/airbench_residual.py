"""Airbench deeper and with shortcuts, as its authors have it for 96 %: the most accurate networks of their size here.

Jordan 2024, arXiv:2404.00498: the third convolution of a group, and the shortcut around the last two, are those of
airbench96. Here the first group, whose maps are largest, goes without. GELU stays: unlike airbench these are made for
accuracy and not for speed.
"""

from __future__ import annotations

import torch
from torch import nn

from app.models.airbench import WHITENED, Airbench, ConvGroup, ScaleFreeNorm, begin_as_identity


class ResidualGroup(nn.Module):
    """Convolution, pooling to half the size, then two convolutions with a shortcut around them."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.smaller = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.MaxPool2d(2),
            ScaleFreeNorm(outputs),
            nn.GELU(),
        )
        self.residual = nn.Sequential(
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            ScaleFreeNorm(outputs),
            nn.GELU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            ScaleFreeNorm(outputs),
        )
        self.activation = nn.GELU()
        begin_as_identity(self)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        smaller = self.smaller(features)
        return self.activation(smaller + self.residual(smaller))


class AirbenchWide(Airbench):
    """images: float [N, 3, H, W] normalized, H and W at least 16. Returns logits [N, C]."""

    widths = (128, 384, 384)
    """Those of airbench95."""

    def layers(self) -> list[nn.Module]:
        first, second, third = self.widths
        return [
            nn.GELU(),
            ConvGroup(WHITENED, first, nn.GELU),
            ResidualGroup(first, second),
            ResidualGroup(second, third),
        ]


class AirbenchTiny(AirbenchWide):
    """At most 0.27 M parameters, as many as ResNet-20."""

    widths = (48, 64, 72)
