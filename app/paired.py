"""Two models on the same images: by how much one is worse, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_ONE_SIDED_95 = 1.645
"""Standard deviations of a normal distribution."""


@dataclass(frozen=True, slots=True)
class PairedLoss:
    """What the new model loses against the former one, as shares of the images, 0 to 1."""

    images: int
    former: float
    """Accuracy."""
    new: float
    spread: float
    """Standard error of their difference. Only images on which they differ add to it (McNemar 1947)."""

    @classmethod
    def of(cls, former_right: np.ndarray, new_right: np.ndarray) -> PairedLoss:
        """Both bool [N], N > 0: whether each image was answered right."""
        difference = former_right.astype(np.float64) - new_right
        return cls(
            images=len(difference),
            former=float(former_right.mean()),
            new=float(new_right.mean()),
            spread=float(difference.std() / len(difference) ** 0.5),
        )

    @property
    def loss(self) -> float:
        return self.former - self.new

    @property
    def least(self) -> float:
        """What is lost at least, with a confidence of 95 %."""
        return self.loss - _ONE_SIDED_95 * self.spread

    def __str__(self) -> str:
        points, spread = 100 * (self.new - self.former), 100 * _ONE_SIDED_95 * self.spread
        return (
            f"{self.new:.2%} against {self.former:.2%} on {self.images:,} images ({points:+.2f} points, +-{spread:.2f})"
        )
