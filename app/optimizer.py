"""Optimizers with decoupled weight decay, and learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from app.precision import has_fast_bf16
from app.settings import FitSettings

ADAMW_BESIDE_MUON = 0.08
"""Learning rate of what Muon leaves to AdamW, as a share of Muon's: the ratio of their defaults."""
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration, from Muon's authors."""
NEWTON_SCHULZ_STEPS = 5


def build_optimizer(model: nn.Module, settings: FitSettings) -> torch.optim.Optimizer:
    """The optimizer that the settings name, over every parameter that is trained."""
    lr, decay = settings.peak_lr, settings.weight_decay
    if settings.optimizer == "sgd":
        return DecoupledSgd(decay_groups(model, decay), lr=lr, momentum=settings.momentum)
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(decay_groups(model, decay), lr=lr)
    return Muon(muon_groups(model, lr=lr, weight_decay=decay), momentum=settings.momentum)


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices and kernels, none for biases and normalization."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def muon_groups(model: nn.Module, *, lr: float, weight_decay: float) -> list[dict[str, Any]]:
    """Kernels that mix channels for Muon; the last layer, depthwise kernels, biases and normalization for AdamW."""
    heads = {id(module.weight) for module in model.modules() if isinstance(module, nn.Linear)}
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [p for p in parameters if p.ndim > 1 and p.shape[1] > 1 and id(p) not in heads]
    chosen = {id(p) for p in matrices}
    others = [p for p in parameters if id(p) not in chosen]
    beside = {"lr": lr * ADAMW_BESIDE_MUON, "orthogonal": False}
    return [
        {"params": matrices, "lr": lr, "weight_decay": weight_decay, "orthogonal": True},
        {"params": [p for p in others if p.ndim > 1], "weight_decay": weight_decay, **beside},
        {"params": [p for p in others if p.ndim <= 1], "weight_decay": 0.0, **beside},
    ]


class DecoupledSgd(torch.optim.Optimizer):
    """SGD with Nesterov momentum; the decay is taken off the weights and not mixed into the gradient.

    As Loshchilov and Hutter 2019 (arXiv:1711.05101) have it for SGD, and unlike torch.optim.SGD.
    """

    def __init__(self, params: Any, *, lr: float, momentum: float) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        assert closure is None, "one gradient a step"
        for group in self.param_groups:
            for parameter in _with_gradient(group):
                update = nesterov(self.state[parameter], parameter.grad, group["momentum"])
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update, alpha=-group["lr"])


class Muon(torch.optim.Optimizer):
    """Nesterov momentum whose update is made orthogonal (Jordan et al. 2024, kellerjordan.github.io/posts/muon).

    torch.optim.Muon takes matrices only; here a kernel [O, I, h, w] counts as the matrix [O, I*h*w]. Groups
    that are not `orthogonal` get AdamW's step.
    """

    BETAS = (0.9, 0.999)
    EPS = 1e-8

    def __init__(self, params: Any, *, momentum: float) -> None:
        super().__init__(params, {"momentum": momentum, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        assert closure is None, "one gradient a step"
        for group in self.param_groups:
            for parameter in _with_gradient(group):
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                update = self._orthogonal if group["orthogonal"] else self._adamw
                parameter.add_(update(parameter, group), alpha=-group["lr"])

    def _orthogonal(self, parameter: torch.Tensor, group: dict[str, Any]) -> torch.Tensor:
        update = nesterov(self.state[parameter], parameter.grad, group["momentum"]).flatten(1)
        rows, columns = update.shape
        return (orthogonalized(update) * max(1.0, rows / columns) ** 0.5).view_as(parameter)

    def _adamw(self, parameter: torch.Tensor, _group: dict[str, Any]) -> torch.Tensor:
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if not state:
            state["steps"] = 0
            state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["steps"] += 1
        first, second = self.BETAS
        state["mean"].lerp_(gradient, 1 - first)
        state["square"].lerp_(gradient.square(), 1 - second)
        mean = state["mean"] / (1 - first ** state["steps"])
        return mean / ((state["square"] / (1 - second ** state["steps"])).sqrt() + self.EPS)


def nesterov(state: dict[str, Any], gradient: torch.Tensor | None, momentum: float) -> torch.Tensor:
    """The gradient with Nesterov momentum, which `state` keeps."""
    assert gradient is not None
    buffer = state.setdefault("momentum", torch.zeros_like(gradient))
    buffer.mul_(momentum).add_(gradient)
    return gradient.add(buffer, alpha=momentum)


def orthogonalized(matrix: torch.Tensor) -> torch.Tensor:
    """Nearly U V^T of [R, C] = U S V^T: singular values end up between about 0.7 and 1.2.

    In bfloat16, as its authors do, where that is faster.
    """
    a, b, c = NEWTON_SCHULZ
    x = matrix.bfloat16() if has_fast_bf16(matrix.device) else matrix.float()
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return (x.T if tall else x).to(matrix.dtype)


def _with_gradient(group: dict[str, Any]) -> list[torch.Tensor]:
    return [parameter for parameter in group["params"] if parameter.grad is not None]


class Schedule:
    """Sets the learning rate of every step: a linear rise, then what `settings.schedule` names.

    The plateau schedule hears of every epoch's validation loss through `observe`.
    """

    PLATEAU_FACTOR = 0.2
    PLATEAU_MARGIN = 1e-3
    """A validation loss counts as better when it is lower by this share."""

    def __init__(self, optimizer: torch.optim.Optimizer, settings: FitSettings, *, total: int) -> None:
        """total: optimizer steps of the whole run."""
        self._optimizer, self._settings, self._total = optimizer, settings, total
        self._rise = max(1, round(total * settings.warmup))
        self._peaks = [float(group["lr"]) for group in optimizer.param_groups]
        self._steps = 0
        self._reduction = 1.0
        self._best_loss, self._bad_epochs = math.inf, 0
        self._apply()

    @property
    def lr(self) -> float:
        """That of the next step."""
        return float(self._optimizer.param_groups[0]["lr"])

    def step(self) -> None:
        self._steps += 1
        self._apply()

    def observe(self, val_loss: float) -> None:
        if self._settings.schedule != "plateau":
            return
        if val_loss < self._best_loss * (1 - self.PLATEAU_MARGIN):
            self._best_loss, self._bad_epochs = val_loss, 0
            return
        self._bad_epochs += 1
        if self._bad_epochs >= self._settings.plateau_patience:
            self._reduction *= self.PLATEAU_FACTOR
            self._bad_epochs = 0
            self._apply()

    def factor(self, step: int) -> float:
        """Share of the peak learning rate in this step, counted from 0."""
        if step < self._rise:
            return (step + 1) / self._rise
        if self._settings.schedule == "plateau":
            return self._reduction
        done = min(1.0, (step - self._rise) / max(1, self._total - self._rise))
        if self._settings.schedule == "one_cycle":
            return 1 - done
        return 0.5 * (1 + math.cos(math.pi * done))

    def state_dict(self) -> dict[str, float]:
        return {
            "steps": self._steps,
            "reduction": self._reduction,
            "best_loss": self._best_loss,
            "bad_epochs": self._bad_epochs,
        }

    def load_state_dict(self, state: dict[str, float]) -> None:
        self._steps, self._bad_epochs = int(state["steps"]), int(state["bad_epochs"])
        self._reduction, self._best_loss = state["reduction"], state["best_loss"]
        self._apply()

    def _apply(self) -> None:
        factor = self.factor(self._steps)
        for group, peak in zip(self._optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * factor
