"""Optimizers and learning-rate schedules."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices and kernels, none for biases and normalization."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def warmup_cosine(
    optimizer: torch.optim.Optimizer, *, total: int, warmup: float
) -> torch.optim.lr_scheduler.LRScheduler:
    """Rises linearly for `warmup` of all steps, then falls to zero along half a cosine."""
    rise = max(1, round(total * warmup))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
