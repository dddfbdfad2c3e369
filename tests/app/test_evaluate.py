"""Figures on a confusion made by hand, and the comparison of two runtimes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from app.evaluate import accuracy, batch_size_of, evaluate, max_difference, predict_in_batches

NAMES = ("cat", "dog", "fox", "owl")
#           true  answer
ANSWERED = [
    (0, 0), (0, 0), (0, 1), (0, 1), (0, 2),
    (1, 1), (1, 1), (1, 1), (1, 0),
    (2, 0),
]  # fmt: skip
"""No owl was there and none was answered."""


@pytest.fixture
def labels() -> np.ndarray:
    return np.array([true for true, _ in ANSWERED], np.int64)


@pytest.fixture
def probabilities() -> np.ndarray:
    """0.7 for the answer, 0.1 for each other class."""
    table = np.full((len(ANSWERED), 4), 0.1, np.float32)
    table[np.arange(len(ANSWERED)), [answer for _, answer in ANSWERED]] = 0.7
    return table


def test_confusion(probabilities: np.ndarray, labels: np.ndarray) -> None:
    found = evaluate(probabilities, labels, NAMES)
    assert found.confusion.tolist() == [[2, 2, 1, 0], [1, 3, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert found.accuracy == accuracy(probabilities, labels) == 0.5
    assert found.loss == pytest.approx(-(5 * math.log(0.7) + 5 * math.log(0.1)) / 10, rel=1e-6)


def test_report_of_each_class(probabilities: np.ndarray, labels: np.ndarray) -> None:
    cat, dog, fox, owl = evaluate(probabilities, labels, NAMES).classes
    assert (cat.label, cat.count, cat.precision, cat.recall) == ("cat", 5, 0.5, 0.4)
    assert (dog.count, dog.precision, dog.recall) == (4, 0.6, 0.75)
    assert (fox.count, fox.precision, fox.recall) == (1, 0.0, 0.0)
    assert (owl.count, owl.precision, owl.recall, owl.most_confused_with) == (0, 0.0, 0.0, "")
    assert [row.most_confused_with for row in (cat, dog, fox)] == ["dog", "cat", "cat"]


def test_a_certain_wrong_answer_has_a_finite_loss() -> None:
    assert evaluate(np.array([[1.0, 0.0]]), np.array([1]), NAMES[:2]).loss == pytest.approx(-math.log(1e-12))


def brightness(images: np.ndarray) -> np.ndarray:
    """One column: the mean of each image."""
    return images.mean((1, 2, 3), dtype=np.float64)[:, None]


def images(count: int) -> np.ndarray:
    return np.arange(count * 12, dtype=np.uint8).reshape(count, 2, 2, 3)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 64])
def test_batches_are_put_together_in_order(batch_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.evaluate.LARGEST_BATCH", batch_size)
    sizes: list[int] = []

    def predict(batch: np.ndarray) -> np.ndarray:
        sizes.append(len(batch))
        assert batch.flags.c_contiguous
        return brightness(batch)

    assert predict_in_batches(predict, images(7)).tolist() == brightness(images(7)).tolist()
    assert sum(sizes) == 7
    assert max(sizes) <= batch_size


def test_large_images_are_asked_about_in_small_batches() -> None:
    sizes = [batch_size_of(np.empty((100, side, side, 3), np.uint8)) for side in (32, 224, 225, 512, 1024, 4000)]
    assert sizes == [64, 64, 63, 12, 3, 1]


def test_the_largest_difference_of_all_batch_sizes() -> None:
    sizes: list[int] = []

    def candidate(batch: np.ndarray) -> np.ndarray:
        sizes.append(len(batch))
        return brightness(batch) - (0.25 if len(batch) == 7 else 0.125)

    assert max_difference(brightness, candidate, images(5), (1, 7, 12)) == 0.25
    assert sizes == [1, 7, 12], "five images are repeated to fill a batch"


@pytest.mark.parametrize("bad_size", [1, 7])
def test_an_answer_that_is_no_number_is_the_largest_difference(bad_size: int) -> None:
    """Python's max() would drop a NaN that is not its first value."""

    def candidate(batch: np.ndarray) -> np.ndarray:
        return brightness(batch) * (math.nan if len(batch) == bad_size else 1)

    assert math.isnan(max_difference(brightness, candidate, images(9), (1, 7)))
    assert math.isnan(max_difference(candidate, candidate, images(9), (1, 7)))


def test_parity_reads_only_the_images_it_uses() -> None:
    """A split may be a map of a file larger than memory."""

    class Watched(np.ndarray):
        def __getitem__(self, index: Any) -> Any:
            assert np.asarray(index).size <= 7
            return super().__getitem__(index)

        def ravel(self, *_: Any) -> Any:
            raise AssertionError("the whole split was read")

    assert max_difference(brightness, brightness, images(20).view(Watched), (1, 7)) == 0
