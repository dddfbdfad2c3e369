"""What is decayed, and the learning rate over a run."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from app.models.custom_cnn import CustomCnn
from app.optimizer import decay_groups, warmup_cosine


def rates(total: int, warmup: float, steps: int | None = None) -> list[float]:
    """The learning rate of each step, for a peak of 2."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = warmup_cosine(optimizer, total=total, warmup=warmup)
    seen = []
    for _ in range(steps or total):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


def test_weight_decay_is_for_matrices_and_kernels_only() -> None:
    net = CustomCnn(10)
    decayed, free = decay_groups(net, 0.3)
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.3, 0.0)
    kernels = {id(m.weight) for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear))}
    assert {id(p) for p in decayed["params"]} == kernels
    assert {id(p) for p in free["params"]} == {id(p) for p in net.parameters()} - kernels


def test_frozen_parameters_are_left_out() -> None:
    layer = nn.Linear(2, 2)
    layer.weight.requires_grad_(False)
    assert [group["params"] for group in decay_groups(layer, 0.1)] == [[], [layer.bias]]


def test_warmup_then_cosine() -> None:
    seen = rates(total=100, warmup=0.2)
    assert seen[:20] == pytest.approx([2 * (step + 1) / 20 for step in range(20)])
    assert seen[20] == pytest.approx(2.0)
    assert seen[60] == pytest.approx(1.0)
    assert seen[99] == pytest.approx(1 + math.cos(math.pi * 79 / 80))
    assert max(seen) == 2.0
    assert seen[20:] == sorted(seen[20:], reverse=True)


@pytest.mark.parametrize(("total", "warmup"), [(1, 0.0), (1, 0.9), (2, 0.5), (3, 0.99), (10, 0.0)])
def test_short_runs_learn_in_every_step(total: int, warmup: float) -> None:
    assert all(0 < rate <= 2 for rate in rates(total, warmup))


def test_the_rate_is_zero_at_the_end() -> None:
    assert rates(total=10, warmup=0.1, steps=11)[10] == pytest.approx(0, abs=1e-12)
