"""What is decayed and by how much, what an update looks like, and the learning rate over a run."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from app.models.custom_cnn import CustomCnn
from app.optimizer import (
    ADAMW_BESIDE_MUON,
    DecoupledSgd,
    Muon,
    Schedule,
    build_optimizer,
    decay_groups,
    muon_groups,
    orthogonalized,
)
from app.settings import FitSettings


def schedule(*, total: int, lr: float = 2.0, **settings: Any) -> Schedule:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)
    return Schedule(optimizer, FitSettings(**settings), total=total)


def rates(total: int, warmup: float, steps: int | None = None, **settings: Any) -> list[float]:
    """The learning rate of each step, for a peak of 2."""
    rate = schedule(total=total, warmup=warmup, **settings)
    seen = []
    for _ in range(steps or total):
        seen.append(rate.lr)
        rate.step()
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


@pytest.mark.parametrize(("name", "kind"), [("adamw", torch.optim.AdamW), ("sgd", DecoupledSgd), ("muon", Muon)])
def test_the_optimizer_that_is_named_with_its_own_learning_rate(name: str, kind: type) -> None:
    optimizer = build_optimizer(CustomCnn(3), FitSettings(optimizer=name))
    assert type(optimizer) is kind
    assert optimizer.param_groups[0]["lr"] == FitSettings(optimizer=name).peak_lr
    given = build_optimizer(CustomCnn(3), FitSettings(optimizer=name, lr=0.123))
    assert given.param_groups[0]["lr"] == 0.123


def step_with(optimizer: torch.optim.Optimizer, weight: nn.Parameter, gradient: torch.Tensor) -> torch.Tensor:
    """The weight after one step."""
    weight.grad = gradient
    optimizer.step()
    return weight.detach().clone()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_is_torchs_nesterov_without_decay(momentum: float) -> None:
    ours, theirs = (nn.Parameter(torch.tensor([1.0, -2.0])) for _ in range(2))
    mine = DecoupledSgd([ours], lr=0.1, momentum=momentum)
    reference = torch.optim.SGD([theirs], lr=0.1, momentum=momentum, nesterov=momentum > 0)
    for n in range(4):
        gradient = torch.tensor([0.5 * n, 1.0])
        torch.testing.assert_close(step_with(mine, ours, gradient), step_with(reference, theirs, gradient.clone()))


def test_decay_takes_a_share_of_the_weight_whatever_the_gradient() -> None:
    weight = nn.Parameter(torch.tensor([4.0]))
    optimizer = DecoupledSgd([{"params": [weight], "weight_decay": 0.5}], lr=0.1, momentum=0.9)
    assert step_with(optimizer, weight, torch.zeros(1)).item() == pytest.approx(4 * (1 - 0.1 * 0.5))
    assert not optimizer.state[weight]["momentum"].any(), "and leaves no trace in the momentum"


@pytest.mark.parametrize("shape", [(8, 8), (4, 30), (30, 4)])
def test_an_orthogonalized_matrix_has_singular_values_near_one(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    values = torch.linalg.svdvals(orthogonalized(matrix))
    assert values.min() > 0.3
    assert values.max() < 1.3
    # The directions are kept.
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    assert torch.cosine_similarity(orthogonalized(matrix).flatten(), (u @ v).flatten(), dim=0) > 0.95


def test_muon_takes_kernels_that_mix_channels() -> None:
    net = CustomCnn(10)
    matrices, others, free = muon_groups(net, lr=0.5, weight_decay=0.1)
    mixing = {id(m.weight) for m in net.modules() if isinstance(m, nn.Conv2d) and m.groups == 1}
    assert {id(p) for p in matrices["params"]} == mixing
    assert id(net.head.weight) in {id(p) for p in others["params"]}
    assert all(p.ndim <= 1 for p in free["params"])
    assert (matrices["lr"], others["lr"]) == (0.5, pytest.approx(0.5 * ADAMW_BESIDE_MUON))
    assert (matrices["weight_decay"], others["weight_decay"], free["weight_decay"]) == (0.1, 0.1, 0.0)


def test_what_muon_leaves_is_trained_as_adamw_does() -> None:
    ours, theirs = (nn.Parameter(torch.tensor([1.0, -2.0, 3.0])) for _ in range(2))
    mine = Muon([{"params": [ours], "lr": 0.1, "weight_decay": 0.2, "orthogonal": False}], momentum=0.9)
    reference = torch.optim.AdamW([theirs], lr=0.1, weight_decay=0.2)
    for n in range(5):
        gradient = torch.tensor([0.5 * n, 1.0, -3.0])
        torch.testing.assert_close(step_with(mine, ours, gradient), step_with(reference, theirs, gradient.clone()))


def test_muons_update_is_as_large_whatever_the_gradient() -> None:
    def moved(scale: float) -> torch.Tensor:
        torch.manual_seed(0)
        weight = nn.Parameter(torch.zeros(6, 4, 3, 3))
        optimizer = Muon([{"params": [weight], "lr": 1.0, "orthogonal": True}], momentum=0.6)
        return step_with(optimizer, weight, scale * torch.randn(6, 4, 3, 3))

    small, large = moved(1e-3), moved(1e3)  # computed in bfloat16 perhaps
    assert float(small.norm()) == pytest.approx(float(large.norm()), rel=0.05)
    assert torch.cosine_similarity(small.flatten(), large.flatten(), dim=0) > 0.99


def test_warmup_then_cosine() -> None:
    seen = rates(total=100, warmup=0.2)
    assert seen[:20] == pytest.approx([2 * (step + 1) / 20 for step in range(20)])
    assert seen[20] == pytest.approx(2.0)
    assert seen[60] == pytest.approx(1.0)
    assert seen[99] == pytest.approx(1 + math.cos(math.pi * 79 / 80))
    assert max(seen) == 2.0
    assert seen[20:] == sorted(seen[20:], reverse=True)


def test_one_cycle_falls_in_a_straight_line() -> None:
    seen = rates(total=100, warmup=0.2, schedule="one_cycle")
    assert seen[:20] == pytest.approx([2 * (step + 1) / 20 for step in range(20)])
    assert seen[20:] == pytest.approx([2 * (100 - step) / 80 for step in range(20, 100)])


def test_plateau_lowers_the_rate_when_the_loss_stays() -> None:
    rate = schedule(total=100, warmup=0.0, schedule="plateau", plateau_patience=2)
    rate.step()
    for loss, expected in [(1.0, 2.0), (0.9, 2.0), (0.9, 2.0), (0.95, 0.4), (0.8, 0.4), (0.8, 0.4), (0.8, 0.08)]:
        rate.observe(loss)
        assert rate.lr == pytest.approx(expected), loss


@pytest.mark.parametrize("name", ["cosine", "one_cycle"])
def test_other_schedules_do_not_listen_to_the_loss(name: str) -> None:
    rate = schedule(total=10, schedule=name)
    before = rate.lr
    for _ in range(9):
        rate.observe(1.0)
    assert rate.lr == before


@pytest.mark.parametrize("name", ["cosine", "one_cycle", "plateau"])
@pytest.mark.parametrize(("total", "warmup"), [(1, 0.0), (1, 0.9), (2, 0.5), (3, 0.99), (10, 0.0)])
def test_short_runs_learn_in_every_step(total: int, warmup: float, name: str) -> None:
    assert all(0 < rate <= 2 for rate in rates(total, warmup, schedule=name))


def test_the_rate_is_zero_at_the_end() -> None:
    assert rates(total=10, warmup=0.1, steps=11)[10] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", ["cosine", "plateau"])
def test_a_schedule_goes_on_where_it_was(name: str) -> None:
    one, other = (schedule(total=20, schedule=name, plateau_patience=1) for _ in range(2))
    for _ in range(7):
        one.step()
    one.observe(1.0)
    one.observe(1.0)
    other.load_state_dict(one.state_dict())
    assert other.lr == one.lr
    one.observe(1.0)
    other.observe(1.0)
    assert other.lr == one.lr
