"""Accuracy, per-class report, confusion matrix, and parity between runtimes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

LARGEST_BATCH = 64
BATCH_PIXELS = LARGEST_BATCH * 224 * 224
"""Of all images of a batch together: a wide layer needs a hundred times their bytes."""

Predict = Callable[[np.ndarray], np.ndarray]
"""uint8 [N, H, W, 3] -> probabilities float32 [N, C]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassReport:
    label: str
    count: int
    """Images of this class in the split."""
    precision: float
    """Share of the answers "this class" that were right; 0 when there were none."""
    recall: float
    """Share of this class's images that were answered right; 0 when there are none."""
    most_confused_with: str
    """The class its wrong answers name most often; empty when there are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    accuracy: float
    """Share answered right, 0 to 1."""
    loss: float
    """Mean cross-entropy in nats."""
    confusion: np.ndarray
    """int64 [C, C]: row is the true class, column the answer."""
    classes: tuple[ClassReport, ...]


def batch_size_of(images: np.ndarray) -> int:
    """How many of these, uint8 [N, H, W, 3], are asked about at once: 64, and fewer above 224x224 pixels."""
    return images_at_once(images.shape[1:3], largest=LARGEST_BATCH, pixels=BATCH_PIXELS)


def images_at_once(image_size: Sequence[int], *, largest: int, pixels: int) -> int:
    """How many images of (height, width) go into a batch of so many pixels: `largest` at most, and always one."""
    height, width = image_size
    return max(1, min(largest, pixels // (height * width)))


def predict_in_batches(predict: Predict, images: np.ndarray) -> np.ndarray:
    """probabilities float32 [N, C] of all images, as many at a time as memory should hold."""
    batch_size = batch_size_of(images)
    return np.concatenate(
        [
            predict(np.ascontiguousarray(images[start : start + batch_size]))
            for start in range(0, len(images), batch_size)
        ]
    )


def evaluate(probabilities: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> Evaluation:
    """probabilities: float [N, C]; labels: int [N]; names: C class names."""
    answers = probabilities.argmax(1)
    confusion = np.zeros((len(names), len(names)), np.int64)
    np.add.at(confusion, (labels, answers), 1)
    true = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return Evaluation(
        accuracy=accuracy(probabilities, labels),
        loss=float(-np.log(np.maximum(true, 1e-12)).mean()),
        confusion=confusion,
        classes=tuple(_class_report(confusion, index, names) for index in range(len(names))),
    )


def accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    return float((probabilities.argmax(1) == labels).mean())


def max_difference(reference: Predict, candidate: Predict, images: np.ndarray, batch_sizes: Sequence[int]) -> float:
    """Largest absolute difference of a probability, over one batch of each size of these images.

    NaN when either answers NaN anywhere.
    """
    batches = [batch_of(images, size) for size in batch_sizes]
    return float(np.max([np.abs(reference(batch) - candidate(batch)).max() for batch in batches]))


def batch_of(images: np.ndarray, size: int) -> np.ndarray:
    """The first `size` images, from the start again when there are fewer."""
    return np.ascontiguousarray(images[np.arange(size) % len(images)])


def _class_report(confusion: np.ndarray, index: int, names: Sequence[str]) -> ClassReport:
    right = int(confusion[index, index])
    count, answered = int(confusion[index].sum()), int(confusion[:, index].sum())
    wrong = confusion[index].copy()
    wrong[index] = 0
    return ClassReport(
        label=names[index],
        count=count,
        precision=right / answered if answered else 0.0,
        recall=right / count if count else 0.0,
        most_confused_with=names[int(wrong.argmax())] if wrong.any() else "",
    )
