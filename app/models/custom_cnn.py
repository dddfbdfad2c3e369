"""The default network: one dense 3x3 stem, then depthwise-separable blocks."""

from __future__ import annotations

import torch
from torch import nn

from app.models.layers import ConvBnRelu, DepthwiseSeparable, init_conv_net


class CustomCnn(nn.Module):
    """images: float [N, 3, H, W] normalized, H and W at least 8. Returns logits [N, C]."""

    def __init__(self, num_classes: int, dropout: float = 0.5) -> None:
        super().__init__()
        self.stem = nn.Sequential(ConvBnRelu(3, 32), nn.MaxPool2d(2))
        self.blocks = nn.Sequential(
            DepthwiseSeparable(32, 64),
            nn.MaxPool2d(2),
            DepthwiseSeparable(64, 128),
            nn.MaxPool2d(2),
            DepthwiseSeparable(128, 256),
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(256, num_classes)
        init_conv_net(self)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.blocks(self.stem(images)).mean((2, 3))
        return self.head(self.dropout(features))
