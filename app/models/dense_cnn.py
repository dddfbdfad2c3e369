"""A student for int8 on a CPU: dense 3x3 convolutions only, which static int8 speeds up most."""

from __future__ import annotations

import torch
from torch import nn

from app.models.layers import ConvBnRelu, init_conv_net


class DenseCnn(nn.Module):
    """images: float [N, 3, H, W] normalized, H and W at least 8. Returns logits [N, C].

    Channels are multiples of 16, the width that int8 kernels work in.
    """

    def __init__(self, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.features = nn.Sequential(
            ConvBnRelu(3, 16),
            ConvBnRelu(16, 32, stride=2),
            ConvBnRelu(32, 32),
            ConvBnRelu(32, 64, stride=2),
            ConvBnRelu(64, 64),
            ConvBnRelu(64, 128, stride=2),
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(128, num_classes)
        init_conv_net(self)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.dropout(self.features(images).mean((2, 3))))
