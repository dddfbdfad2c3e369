"""The little that a data-parallel loop needs of torch.distributed; one process alone works the same."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import distributed, nn

T = TypeVar("T")


def average_buffers(model: nn.Module) -> None:
    """Averages running statistics over all processes, so that each evaluates and saves the same model."""
    if not distributed.is_initialized():
        return
    for name, buffer in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            sum_over_processes(buffer).div_(world_size())


def rank() -> int:
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    return distributed.get_world_size() if distributed.is_initialized() else 1


def sum_over_processes(values: torch.Tensor) -> torch.Tensor:
    """Adds `values` up over all processes, in place."""
    if distributed.is_initialized():
        distributed.all_reduce(values)
    return values


def means(totals: torch.Tensor) -> tuple[float, float]:
    """(mean loss, accuracy) of sums [loss, correct, count] that each process holds a part of."""
    loss, correct, count = sum_over_processes(totals.clone()).tolist()
    return loss / count, correct / count


def of_first(value: T) -> T:
    """What rank 0 says, in every process."""
    if not distributed.is_initialized():
        return value
    held = [value]
    distributed.broadcast_object_list(held)
    return held[0]
