"""Quantization-aware training: layers compute with rounded values, and learn to bear it (Jacob et al. 2018,
arXiv:1712.05877).

Gradients pass the rounding as if it were not there (Bengio et al. 2013, arXiv:1308.3432). What is rounded is what
`app.conversion.quantize` rounds: weights to 7 bits, symmetric and for each output channel by itself, which commutes
with folding a normalization into a layer; inputs to 8 bits over their range in the batch.
"""

from __future__ import annotations

import torch
from torch import nn

WEIGHT_LEVELS = 64
"""On either side of zero: 7 bits."""
INPUT_LEVELS = 255


class RoundedConv2d(nn.Conv2d):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self._conv_forward(rounded_inputs(input), rounded_weights(self.weight), self.bias)


class RoundedLinear(nn.Linear):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(rounded_inputs(input), rounded_weights(self.weight), self.bias)


def round_layers(model: nn.Module) -> None:
    """In place; parameters and their names stay, so that a checkpoint does not tell."""
    for module in model.modules():
        if type(module) is nn.Conv2d:
            module.__class__ = RoundedConv2d
        elif type(module) is nn.Linear:
            module.__class__ = RoundedLinear


def rounded_weights(weight: torch.Tensor) -> torch.Tensor:
    """weight: float [channels out, ...]; symmetric, each channel by its own largest magnitude."""
    largest = weight.detach().abs().flatten(1).amax(1).clamp_min(torch.finfo(weight.dtype).tiny)
    return _rounded(weight, (largest / WEIGHT_LEVELS).view(-1, *[1] * (weight.dim() - 1)))


def rounded_inputs(inputs: torch.Tensor) -> torch.Tensor:
    """inputs: float of any shape; all of them by their range, in which zero lies."""
    lowest, highest = inputs.detach().aminmax()
    span = highest.clamp_min(0) - lowest.clamp_max(0)
    return _rounded(inputs, (span / INPUT_LEVELS).clamp_min(torch.finfo(inputs.dtype).tiny))


def _rounded(values: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    return values + ((values / step).round() * step - values).detach()
