"""Thresholds of a cascade."""

from __future__ import annotations

import numpy as np
import pytest

from app.cascade import Answered, Cost, Point, cheapest, curve, thinned
from app.errors import BadInput

COST = Cost(fast=1.0, accurate=10.0)


def answered(sure: list[float], fast_right: list[bool], accurate_right: list[bool]) -> Answered:
    """Two classes, the right one always 0."""

    def probabilities(confidence: list[float], right: list[bool]) -> np.ndarray:
        rows = [(p, 1 - p) if ok else (1 - p, p) for p, ok in zip(confidence, right, strict=True)]
        return np.array(rows, np.float32)

    return Answered.of(
        fast=probabilities(sure, fast_right),
        accurate=probabilities([0.9] * len(sure), accurate_right),
        labels=np.zeros(len(sure), np.int64),
    )


MIXED = answered([0.99, 0.9, 0.8, 0.7, 0.6], [True, True, True, False, False], [True, True, False, True, True])


def test_the_curve_goes_from_the_fast_one_alone_to_both_every_time() -> None:
    points = curve(MIXED, COST)
    assert [point.share for point in points] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert [point.accuracy for point in points] == pytest.approx([0.6, 0.8, 1.0, 0.8, 0.8, 0.8])
    assert [point.cost_ms for point in points] == pytest.approx([1, 3, 5, 7, 9, 11])


def test_the_cheapest_that_keeps_the_accuracy_is_taken() -> None:
    points = curve(MIXED, COST)
    assert cheapest(points, 0.8).share == pytest.approx(0.2)
    assert cheapest(points, 0.81).share == pytest.approx(0.4)
    assert cheapest(points, 0.1).share == 0
    with pytest.raises(BadInput, match=r"no threshold keeps an accuracy of 101.00%; the best is 100.00%"):
        cheapest(points, 1.01)


def test_a_threshold_means_the_same_on_other_images() -> None:
    threshold = cheapest(curve(MIXED, COST), 0.8).threshold
    others = answered([0.66, 0.55, 0.59], [True, False, True], [True, True, True])
    assert others.at(threshold, COST).share == pytest.approx(2 / 3), "less sure than 0.65"


def test_against_every_threshold_by_brute_force() -> None:
    rng = np.random.default_rng(1)
    fast, accurate = (rng.dirichlet(np.ones(4) * 0.5, 300).astype(np.float32) for _ in range(2))
    data = Answered.of(fast=fast, accurate=accurate, labels=rng.integers(0, 4, 300))
    points = curve(data, COST)
    chosen = cheapest(points, data.accurate_alone - 0.02)
    for threshold in np.linspace(0, 1.01, 2000):
        other = data.at(float(threshold), COST)
        assert other.accuracy < data.accurate_alone - 0.02 or other.cost_ms >= chosen.cost_ms


def test_no_images() -> None:
    with pytest.raises(BadInput, match="needs images"):
        Answered.of(fast=np.zeros((0, 2)), accurate=np.zeros((0, 2)), labels=np.zeros(0, np.int64))


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    points = [Point(threshold=n / 999, share=n / 999, accuracy=0.5, cost_ms=1.0) for n in range(1000)]
    few = thinned(points, 11)
    assert (few[0], few[-1]) == (points[0], points[-1])
    assert len(few) == 11
    assert thinned(points[:1]) == points[:1]
