"""ResNet-20 for small images (He et al. 2016, arXiv:1512.03385, section 4.2): 0.27 M parameters."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from app.models.layers import ConvBnRelu, init_conv_net


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut without parameters (the paper's option A)."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.first = ConvBnRelu(inputs, outputs, stride=stride)
        self.second = nn.Sequential(nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs))
        self.stride = stride
        self.added_channels = outputs - inputs

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        shortcut = images
        if self.added_channels:
            shortcut = functional.pad(
                images[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.added_channels)
            )
        return functional.relu(self.second(self.first(images)) + shortcut)


class ResNet20(nn.Module):
    """images: float [N, 3, H, W] normalized, H and W at least 8. Returns logits [N, C]."""

    def __init__(self, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        stages: list[nn.Module] = [ConvBnRelu(3, 16)]
        for inputs, outputs, stride in ((16, 16, 1), (16, 32, 2), (32, 64, 2)):
            stages += [
                BasicBlock(inputs, outputs, stride=stride),
                BasicBlock(outputs, outputs, stride=1),
                BasicBlock(outputs, outputs, stride=1),
            ]
        self.features = nn.Sequential(*stages)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(64, num_classes)
        init_conv_net(self)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.dropout(self.features(images).mean((2, 3))))
