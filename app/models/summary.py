"""Layer tables: output shapes, parameters and multiply-adds of a network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True, slots=True)
class LayerRow:
    name: str
    kind: str
    output_shape: tuple[int, ...]
    """Without the batch dimension."""
    parameters: int
    multiply_adds: int
    """Per image; convolutions and linear layers only, as is usual."""


def layer_table(net: nn.Module, input_size: tuple[int, int]) -> list[LayerRow]:
    """Runs `net` once on one image [1, 3, H, W] and reports every leaf layer in order of execution."""
    rows: list[LayerRow] = []
    hooks = [
        module.register_forward_hook(partial(_record, rows, name))
        for name, module in net.named_modules()
        if not list(module.children())
    ]
    was_training = net.training
    try:
        with torch.no_grad():
            net.eval()(torch.zeros(1, 3, *input_size))
    finally:
        net.train(was_training)
        for hook in hooks:
            hook.remove()
    return rows


def count_parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def _record(rows: list[LayerRow], name: str, module: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
    rows.append(
        LayerRow(
            name=name,
            kind=type(module).__name__,
            output_shape=tuple(output.shape[1:]),
            parameters=count_parameters(module),
            multiply_adds=_multiply_adds(module, output),
        )
    )


def _multiply_adds(module: nn.Module, output: torch.Tensor) -> int:
    if isinstance(module, nn.Conv2d):
        height, width = module.kernel_size
        return output[0].numel() * height * width * module.in_channels // module.groups
    if isinstance(module, nn.Linear):
        return output[0].numel() * module.in_features
    return 0
