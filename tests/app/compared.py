"""Two trainings, to be compared with each other."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch

from app.train_state import TrainState

CLOCKED = ("seconds", "cpu_seconds", "images_per_second", "compute_share", "ended")


def outcome(state: TrainState) -> list[dict[str, Any]]:
    """The history without what the clock decides."""
    return [
        {name: value for name, value in dataclasses.asdict(report).items() if name not in CLOCKED}
        for report in state.history
    ]


def equal_weights(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
