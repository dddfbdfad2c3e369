"""A network brought to the widths of pruned weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn


def resize_to(net: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Gives every layer the shapes that `weights` (a state dict of the same names) has; what it held is lost."""
    for name, module in net.named_modules():
        held = {**module._parameters, **module._buffers}
        for key, old in held.items():
            new = weights.get(f"{name}.{key}")
            if old is None or new is None or old.shape == new.shape:
                continue
            empty = torch.zeros_like(new)
            if isinstance(old, nn.Parameter):
                setattr(module, key, nn.Parameter(empty, requires_grad=old.requires_grad))
            else:
                setattr(module, key, empty)
        _describe(module)


def _describe(module: nn.Module) -> None:
    """Layers also hold their widths as numbers."""
    if isinstance(module, nn.Conv2d):
        outputs, inputs_of_a_group = module.weight.shape[:2]
        if module.groups > 1 and module.groups == module.in_channels:  # depthwise
            module.groups = outputs
        module.in_channels, module.out_channels = inputs_of_a_group * module.groups, outputs
    elif isinstance(module, nn.BatchNorm2d):
        assert module.running_mean is not None
        module.num_features = len(module.running_mean)
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
