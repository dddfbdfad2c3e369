"""ResNet-9, the fast and accurate network of the DAWNBench speed runs (Page 2018, "How to train your ResNet")."""

from __future__ import annotations

import torch
from torch import nn

from app.models.layers import ConvBnRelu, init_conv_net

LOGIT_SCALE = 0.125
"""The original's factor on the logits: without it the first steps at a high learning rate diverge."""


class Residual(nn.Module):
    """Two convolutions added to what they start from."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(ConvBnRelu(channels, channels), ConvBnRelu(channels, channels))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images + self.body(images)


class ResNet9(nn.Module):
    """images: float [N, 3, H, W] normalized, H and W at least 8. Returns logits [N, C].

    The original takes the maximum over the last feature map; here it is the mean, as in every network
    of this table, because later converters keep a dynamic batch only with that.
    """

    def __init__(self, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.features = nn.Sequential(
            ConvBnRelu(3, 64),
            ConvBnRelu(64, 128),
            nn.MaxPool2d(2),
            Residual(128),
            ConvBnRelu(128, 256),
            nn.MaxPool2d(2),
            ConvBnRelu(256, 512),
            nn.MaxPool2d(2),
            Residual(512),
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(512, num_classes, bias=False)
        init_conv_net(self)
        nn.init.kaiming_uniform_(self.head.weight, a=5**0.5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.dropout(self.features(images).mean((2, 3)))) * LOGIT_SCALE
