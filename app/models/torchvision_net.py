"""Any classification network of torchvision by its name, as in `torchvision:resnet18`, fit for small images.

They are made for images of 224 pixels: their first layers throw away what images of 32 pixels have.
"""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from app.architecture_names import TORCHVISION_PREFIX
from app.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable

MIN_SIZE = 32
FULL_SIZE = 128
"""From this side on a network stays as it is; each halving below takes one halving out of its first layers."""
WIDE_KERNEL = 5
"""A strided convolution at least this wide becomes a 3x3 one, as in the residual networks for CIFAR."""


class GlobalMean(nn.Module):
    """[N, C, H, W] -> [N, C, 1, 1]. Converters keep a dynamic batch with it and not with adaptive pooling."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features.mean((2, 3), keepdim=True)


def torchvision_net(
    name: str, num_classes: int, input_size: tuple[int, int], *, dropout: float | None = None
) -> nn.Module:
    """The network with fresh weights, called with floats [N, 3, H, W]. Returns logits [N, C].

    input_size: (height, width) in pixels. Raises BadInput for an unknown name, or a network that cannot be used.
    """
    import torchvision

    require_known(name)
    builder = torchvision.models.get_model_builder(name.removeprefix(TORCHVISION_PREFIX))
    halvings = max(0, math.ceil(math.log2(FULL_SIZE / min(input_size))))
    for removed in range(halvings, -1, -1):
        net = _adapted(builder, num_classes, removed, dropout)
        if _answers(net, num_classes, input_size):
            return net
    height, width = input_size
    raise BadInput(f"model {name} cannot take images of {width}x{height} pixels; pass a larger --image-size")


def require_known(name: str) -> None:
    """Raises BadInput, with the names there are, for a network that torchvision does not have."""
    import torchvision  # late: seconds, for those who use it

    known = torchvision.models.list_models(module=torchvision.models)
    if name.removeprefix(TORCHVISION_PREFIX) not in known:
        raise BadInput(f"unknown model {name!r}; torchvision has: {', '.join(known)}")


def _adapted(builder: Callable[..., nn.Module], num_classes: int, removed: int, dropout: float | None) -> nn.Module:
    options = {"aux_logits": False, "init_weights": True} if builder.__name__ in ("googlenet", "inception_v3") else {}
    net = builder(weights=None, num_classes=num_classes, **options)
    for name, module in list(net.named_modules()):
        halvings = _halvings(module)
        if removed >= halvings > 0:
            _replace(net, name, _unstrided(module))
            removed -= halvings
        elif isinstance(module, nn.AdaptiveAvgPool2d) and module.output_size in (1, (1, 1)):
            _replace(net, name, GlobalMean())
        elif isinstance(module, nn.Dropout) and dropout is not None:
            module.p = dropout
    return net


def _halvings(module: nn.Module) -> int:
    """By how many factors of two a layer shrinks its input."""
    if not isinstance(module, nn.Conv2d | nn.MaxPool2d):
        return 0
    stride = module.stride if isinstance(module.stride, int) else module.stride[0]
    return int(math.log2(stride)) if stride else 0


def _unstrided(module: nn.Module) -> nn.Module:
    """The same layer without its stride: pooling is left out, a wide or strided-only convolution becomes 3x3."""
    if not isinstance(module, nn.Conv2d):
        return nn.Identity()
    kernel = module.kernel_size[0]
    if kernel >= WIDE_KERNEL or kernel % 2 == 0:
        return nn.Conv2d(
            module.in_channels, module.out_channels, 3, padding=1, groups=module.groups, bias=module.bias is not None
        )
    module.stride = (1, 1)
    return module


def _replace(net: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, attribute = name.rpartition(".")
    setattr(net.get_submodule(parent), attribute, module)


def _answers(net: nn.Module, num_classes: int, input_size: tuple[int, int]) -> bool:
    """Whether the network runs on such images, and ends with logits. Errors differ by network and layer."""
    with contextlib.suppress(Exception), torch.no_grad():
        logits = net.eval()(torch.zeros(2, 3, *input_size))
        net.train()
        return isinstance(logits, torch.Tensor) and logits.shape == (2, num_classes)
    return False
