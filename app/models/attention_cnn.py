"""A convolutional network with attention.

Channel and spatial attention as in CBAM (Woo et al. 2018, arXiv:1807.06521); self-attention over the last
feature map as in SAGAN (Zhang et al. 2019, arXiv:1805.08318), which starts as the identity.
"""

from __future__ import annotations

import torch
from torch import nn

from app.models.layers import ConvBnRelu, init_conv_net


class ChannelAttention(nn.Module):
    """Weights each channel by what a small network makes of its mean and its maximum."""

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Linear(channels, channels // reduction),
            nn.ReLU(inplace=True),
            nn.Linear(channels // reduction, channels),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        weights = self.network(features.mean((2, 3))) + self.network(features.amax((2, 3)))
        return features * weights.sigmoid()[:, :, None, None]


class SpatialAttention(nn.Module):
    """Weights each position by a 7x7 convolution over the mean and the maximum of its channels."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        summary = torch.cat([features.mean(1, keepdim=True), features.amax(1, keepdim=True)], 1)
        return features * self.convolution(summary).sigmoid()


class SelfAttention(nn.Module):
    """Every position of a feature map looks at all others; added with a learned factor that starts at 0."""

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, channels // reduction, 1)
        self.key = nn.Conv2d(channels, channels // reduction, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.factor = nn.Parameter(torch.zeros(1))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        query, key, value = (layer(features).flatten(2) for layer in (self.query, self.key, self.value))
        attention = (query.transpose(1, 2) @ key).softmax(2)
        looked_up = (value @ attention.transpose(1, 2)).unflatten(2, features.shape[2:])
        return features + self.factor * looked_up


class AttentionCnn(nn.Module):
    """images: float [N, 3, H, W] normalized, H and W at least 8. Returns logits [N, C]."""

    def __init__(self, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.features = nn.Sequential(
            ConvBnRelu(3, 32),
            ConvBnRelu(32, 64),
            ChannelAttention(64),
            SpatialAttention(),
            nn.MaxPool2d(2),
            ConvBnRelu(64, 128),
            ChannelAttention(128),
            SpatialAttention(),
            nn.MaxPool2d(2),
            ConvBnRelu(128, 128),
            SelfAttention(128),
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(128, num_classes)
        init_conv_net(self)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.dropout(self.features(images).mean((2, 3))))
