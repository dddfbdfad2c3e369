"""How far a graph's answers are from those of the network it was made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.evaluate import accuracy


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    accuracy: float
    """Share answered right, 0 to 1."""
    max_error: float
    """Largest difference of a probability."""
    mean_error: float
    """Mean over the images of half the summed differences of their probabilities (total variation), 0 to 1.

    A model may keep all its right answers and still be broken: this sees it.
    """


def compare_answers(probabilities: np.ndarray, reference: np.ndarray, labels: np.ndarray) -> Answers:
    """probabilities, reference: float [N, C]; labels: int [N]. Errors are NaN when an answer is."""
    difference = np.abs(probabilities.astype(np.float64) - reference)
    return Answers(
        accuracy=accuracy(probabilities, labels),
        max_error=float(difference.max()),
        mean_error=float(difference.sum(1).mean() / 2),
    )
