"""What has come back about the answers of one arm of an A/B test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.e_process import Counts
from app.errors import BadInput


@dataclass(frozen=True, slots=True)
class Feedback:
    """Answers of one arm whose true class is known, and how many of them were right: all the state that a test has.

    Raises BadInput when there cannot be such counts.
    """

    n: int = 0
    correct: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.correct <= self.n:
            raise BadInput(f"feedback must have 0 <= correct <= n, not {self.correct} correct of {self.n}")

    def __add__(self, other: Feedback) -> Feedback:
        return Feedback(self.n + other.n, self.correct + other.correct)

    @property
    def accuracy(self) -> float | None:
        """None when there is no feedback."""
        return self.correct / self.n if self.n else None


def counts_of(feedback: Sequence[Feedback]) -> Counts:
    return Counts(np.array([arm.n for arm in feedback], float), np.array([arm.correct for arm in feedback], float))
