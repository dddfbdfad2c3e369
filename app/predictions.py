"""What an answer looks like, over HTTP and on the command line alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def top_predictions(probabilities: np.ndarray, labels: Sequence[str], top_k: int) -> list[dict[str, Any]]:
    """The `top_k` classes of one row [C] with the highest probability, highest first; the lower id first when equal.

    A `top_k` above the number of classes means all of them.
    """
    best = np.argsort(-probabilities, kind="stable")[:top_k]
    return [
        {"class_id": index, "class_name": labels[index], "confidence": confidence}
        for index, confidence in zip(best.tolist(), probabilities[best].tolist(), strict=True)
    ]
