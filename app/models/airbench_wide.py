"""The most accurate network of the table: airbench wider, deeper and with shortcuts, as its authors have it for 96 %.

Jordan 2024, arXiv:2404.00498: the widths are those of airbench95, the third convolution of a group, and the shortcut
around the last two, those of airbench96. Here the first group, whose maps are largest, goes without. GELU stays: unlike
airbench this one is made for accuracy and not for speed.
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

    def layers(self) -> list[nn.Module]:
        first, second, third = self.widths
        return [
            nn.GELU(),
            ConvGroup(WHITENED, first, nn.GELU),
            ResidualGroup(first, second),
            ResidualGroup(second, third),
        ]
