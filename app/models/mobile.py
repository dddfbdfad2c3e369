"""The ultra-light network: a thin stem and three strided depthwise-separable blocks."""

from __future__ import annotations

import torch
from torch import nn

from app.models.layers import ConvBnRelu, DepthwiseSeparable, init_conv_net


class Mobile(nn.Module):
    """images: float [N, 3, H, W] normalized, H and W at least 8. Returns logits [N, C]."""

    def __init__(self, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.features = nn.Sequential(
            ConvBnRelu(3, 16),
            DepthwiseSeparable(16, 32, stride=2),
            DepthwiseSeparable(32, 64, stride=2),
            DepthwiseSeparable(64, 128, stride=2),
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(128, num_classes)
        init_conv_net(self)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.dropout(self.features(images).mean((2, 3))))
