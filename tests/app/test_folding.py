"""Batch normalization folded into the convolution before a pool: the same answers from fewer layers."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from app.models.folding import fold_norms_behind_pools
from tests.app.tiny_data import one_thread


def block(activation: nn.Module) -> nn.Sequential:
    """With running statistics far from those it starts with."""
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(4)
    with torch.no_grad():
        norm.running_mean.normal_()  # type: ignore[union-attr]  # it has statistics
        norm.running_var.uniform_(0.5, 2.0)  # type: ignore[union-attr]
        norm.bias.normal_()
    return nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.MaxPool2d(2), norm, activation, nn.Flatten()).eval()


def kinds(net: nn.Sequential) -> list[type[nn.Module]]:
    return [type(module) for module in net]


@pytest.mark.parametrize(
    ("activation", "layers"),
    [
        (nn.ReLU(), [nn.Conv2d, nn.ReLU, nn.Identity, nn.MaxPool2d, nn.Flatten]),
        # GELU falls before it rises, so it may not change places with a maximum.
        (nn.GELU(), [nn.Conv2d, nn.MaxPool2d, nn.Identity, nn.GELU, nn.Flatten]),
    ],
)
def test_answers_stay(activation: nn.Module, layers: list[type[nn.Module]]) -> None:
    before = block(activation)
    after = copy.deepcopy(before)
    fold_norms_behind_pools(after)
    assert kinds(after) == layers
    images = torch.randn(5, 3, 10, 10)
    with one_thread(), torch.no_grad():
        torch.testing.assert_close(after(images), before(images), rtol=1e-5, atol=1e-5)


def test_a_norm_that_turns_a_channel_around_stays() -> None:
    net = block(nn.ReLU())
    with torch.no_grad():
        net.get_parameter("2.weight")[1] = -1.0
    before = kinds(net)
    fold_norms_behind_pools(net)
    assert kinds(net) == before
