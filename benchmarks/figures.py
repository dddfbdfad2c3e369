"""Repeated measurements of one thing."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Figures:
    """Median and spread of at least one measurement."""

    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> Figures:
        """Raises ValueError when there are none."""
        if not values:
            raise ValueError("nothing was measured")
        return cls(tuple(values))

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)

    @property
    def runs(self) -> int:
        return len(self.values)

    def to_dict(self) -> dict[str, float]:
        return {
            "median": round(self.median, 4),
            "min": round(self.low, 4),
            "max": round(self.high, 4),
            "runs": self.runs,
        }


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a benchmark's table."""

    name: str
    unit: str
    figures: Figures


@dataclass(frozen=True, slots=True)
class Ratio:
    """A comparison that has a bar: met when the median is at most, or at least, that."""

    name: str
    figures: Figures
    bar: float
    better: Literal["lower", "higher"] = "lower"

    @property
    def met(self) -> bool:
        return self.figures.median <= self.bar if self.better == "lower" else self.figures.median >= self.bar


def quotients(numerators: Sequence[float], denominators: Sequence[float]) -> Figures:
    """Ratios of pairs that were measured one after the other, so that a slow minute slows down both."""
    return Figures.of([above / below for above, below in zip(numerators, denominators, strict=True)])
