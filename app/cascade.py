"""A cascade: a fast model answers what it is sure of, an accurate one the rest (Viola & Jones 2001; Wang et al. 2017,
IDK cascades, arXiv:1706.00885).

How sure the fast one is, is its largest probability; below the threshold the accurate one is asked as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.errors import BadInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Milliseconds for one image."""

    fast: float
    accurate: float

    def mean(self, share: float) -> float:
        """Of an image, when the accurate model is asked for that share of them."""
        return self.fast + share * self.accurate


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What a threshold gives."""

    threshold: float
    share: float
    """Of the images for which the accurate model is asked, 0 to 1."""
    accuracy: float
    cost_ms: float
    """Mean milliseconds of an image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What both models answered to a split, image by image."""

    sureness: np.ndarray
    """float64 [N]: the fast model's largest probability."""
    fast_right: np.ndarray
    """bool [N]."""
    accurate_right: np.ndarray
    """bool [N]."""

    @classmethod
    def of(cls, fast: np.ndarray, accurate: np.ndarray, labels: np.ndarray) -> Answered:
        """fast, accurate: float [N, C] probabilities; labels: int [N]. Raises BadInput when there are no images."""
        if not len(labels):
            raise BadInput("a cascade needs images to choose its threshold on")
        return cls(
            sureness=fast.max(1).astype(np.float64),
            fast_right=fast.argmax(1) == labels,
            accurate_right=accurate.argmax(1) == labels,
        )

    def at(self, threshold: float, cost: Cost) -> Point:
        asked = self.sureness < threshold
        share = float(asked.mean())
        return Point(
            threshold=threshold,
            share=share,
            accuracy=float(np.where(asked, self.accurate_right, self.fast_right).mean()),
            cost_ms=cost.mean(share),
        )

    @property
    def accurate_alone(self) -> float:
        return float(self.accurate_right.mean())


def curve(answered: Answered, cost: Cost) -> list[Point]:
    """Every threshold that changes anything: from asking the fast model alone to asking both every time."""
    sure = np.unique(answered.sureness)
    between = (sure[:-1] + sure[1:]) / 2
    return [answered.at(float(threshold), cost) for threshold in (0.0, *between, sure[-1] + 1e-6)]


def cheapest(points: Sequence[Point], least_accuracy: float) -> Point:
    """The point of the lowest cost that keeps the accuracy. Raises BadInput when none does."""
    kept = [point for point in points if point.accuracy >= least_accuracy]
    if not kept:
        best = max(point.accuracy for point in points)
        raise BadInput(f"no threshold keeps an accuracy of {least_accuracy:.2%}; the best is {best:.2%}")
    return min(kept, key=lambda point: (point.cost_ms, -point.accuracy))


def thinned(points: Sequence[Point], count: int = 101) -> list[Point]:
    """At most `count` of them, evenly over the share that is asked for, first and last among them."""
    shares = np.array([point.share for point in points])
    wanted = np.searchsorted(shares, np.linspace(shares[0], shares[-1], count))
    return [points[index] for index in dict.fromkeys(np.minimum(wanted, len(points) - 1).tolist())]
