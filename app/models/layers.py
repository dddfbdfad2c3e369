"""Building blocks that several architectures share."""

from __future__ import annotations

from torch import nn


class ConvBnRelu(nn.Sequential):
    """Same-padded convolution without bias, batch normalization, ReLU."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, groups: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class DepthwiseSeparable(nn.Sequential):
    """A 3x3 convolution per channel, then a 1x1 convolution across channels (Howard et al. 2017, arXiv:1704.04861)."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__(
            ConvBnRelu(inputs, inputs, stride=stride, groups=inputs), ConvBnRelu(inputs, outputs, kernel=1)
        )


def init_conv_net(net: nn.Module) -> None:
    """Kaiming-normal convolutions (fan out; He et al. 2015), BN weight 1 and bias 0, linear normal(0, 0.01)."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
