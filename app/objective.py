"""What training makes smaller."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from app.settings import FitSettings


@dataclass(frozen=True, slots=True)
class Batch:
    """What one process computes at once."""

    rows: np.ndarray
    """int [n]: row numbers in the training split."""
    mirrored: torch.Tensor
    """bool [n], on the CPU."""
    inputs: torch.Tensor
    """float [n, 3, H, W] in 0..255, augmented."""
    labels: torch.Tensor
    """int64 [n]"""
    partner_labels: torch.Tensor | None = None
    """int64 [n]: of the images that were mixed in."""
    share: float = 1.0
    """Of the image itself, where another was mixed in."""

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, rows: slice) -> Batch:
        return Batch(
            self.rows[rows],
            self.mirrored[rows],
            self.inputs[rows],
            self.labels[rows],
            None if self.partner_labels is None else self.partner_labels[rows],
            self.share,
        )


Objective = Callable[[torch.Tensor, Batch], torch.Tensor]
"""(logits float [n, C], batch) -> mean loss over the batch."""


class CrossEntropy:
    """With label smoothing, and labels in proportion where images were mixed."""

    def __init__(self, settings: FitSettings) -> None:
        self._smoothing = settings.label_smoothing

    def __call__(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        loss = functional.cross_entropy(logits, batch.labels, label_smoothing=self._smoothing)
        if batch.partner_labels is None:
            return loss
        other = functional.cross_entropy(logits, batch.partner_labels, label_smoothing=self._smoothing)
        return batch.share * loss + (1 - batch.share) * other
