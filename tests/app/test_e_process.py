"""The mathematics of the sequential test, against sums over all outcomes and against brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.e_process import (
    Counts,
    difference_evidence,
    difference_interval,
    log_martingale,
    rate_interval,
    rate_log_e,
)

THRESHOLD = math.log(20)
CASES = [
    (1000, 900, 100, 95),
    (4500, 3960, 500, 470),
    (40, 40, 30, 20),
    (30, 0, 50, 50),
    (7, 7, 9, 9),
    (12, 0, 3, 0),
    (1, 1, 1, 0),
    (200_000, 180_000, 190_000, 172_000),
    (3000, 2990, 0, 0),
]
"""(n, correct) of the champion, then of the challenger."""


def one(n: float, correct: float) -> Counts:
    return Counts(np.array([n], float), np.array([correct], float))


def pair(case: tuple[int, int, int, int]) -> tuple[Counts, Counts]:
    return one(*case[:2]), one(*case[2:])


def evidence(case: tuple[int, int, int, int], difference: float) -> float:
    return float(difference_evidence(*pair(case), np.array([difference])).log_e[0])


def many(cases: list[tuple[int, int, int, int]]) -> tuple[Counts, Counts]:
    columns = np.array(cases, float).T
    return Counts(columns[0], columns[1]), Counts(columns[2], columns[3])


@pytest.mark.parametrize(("p", "q"), [(0.6, 0.6), (0.9, 0.95), (0.99, 0.2), (1.0, 0.7)])
@pytest.mark.parametrize(("n0", "n1"), [(0, 1), (1, 0), (9, 1), (20, 20), (60, 3)])
def test_the_martingale_is_expected_to_be_1(p: float, q: float, n0: int, n1: int) -> None:
    """The sum over all outcomes, not a simulation: small samples are no special case."""
    outcomes = list(itertools.product(range(n0 + 1), range(n1 + 1)))
    champion, challenger = many([(n0, s0, n1, s1) for s0, s1 in outcomes])
    log_m = log_martingale(champion, challenger, np.full(len(outcomes), p), np.full(len(outcomes), q))
    probability = [
        math.comb(n0, s0) * p**s0 * (1 - p) ** (n0 - s0) * math.comb(n1, s1) * q**s1 * (1 - q) ** (n1 - s1)
        for s0, s1 in outcomes
    ]
    assert np.dot(probability, np.exp(log_m)) == pytest.approx(1.0)


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.97, 1.0])
def test_so_is_that_of_a_single_arm(rate: float) -> None:
    correct = np.arange(31.0)
    log_e, _ = rate_log_e(Counts(np.full(31, 30.0), correct), np.full(31, rate))
    probability = [math.comb(30, s) * rate**s * (1 - rate) ** (30 - s) for s in range(31)]
    assert np.dot(probability, np.exp(log_e)) == pytest.approx(1.0)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("difference", [-1.0, -0.3, -0.01, 0.0, 0.02, 0.5, 1.0])
def test_evidence_is_the_least_over_the_other_rate(case: tuple[int, int, int, int], difference: float) -> None:
    rates = np.linspace(max(0.0, -difference), min(1.0, 1 - difference), 4001)
    champion, challenger = (arm.repeat(len(rates)) for arm in pair(case))
    least = log_martingale(champion, challenger, rates, rates + difference).min()
    found = evidence(case, difference)
    assert found <= least + 1e-6
    assert found >= least - 0.02 * max(1.0, abs(least)), "the grid is not that coarse"


@pytest.mark.parametrize("case", CASES)
def test_its_slope_is_that_of_the_evidence(case: tuple[int, int, int, int]) -> None:
    at = np.array([-0.6, -0.2, -0.03, 0.04, 0.3, 0.7])
    champion, challenger = (arm.repeat(len(at)) for arm in pair(case))
    h = 1e-5
    below, here, above = (difference_evidence(champion, challenger, at + move) for move in (-h, 0, h))
    assert here.slope == pytest.approx((above.log_e - below.log_e) / (2 * h), rel=1e-2, abs=1e-2)


@pytest.mark.parametrize("case", CASES)
def test_the_interval_is_what_the_evidence_does_not_exclude(case: tuple[int, int, int, int]) -> None:
    (low,), (high,) = difference_interval(*pair(case), 0.05)
    for end, outside in ((low, -1), (high, 1)):
        assert abs(end) == 1 or evidence(case, end) == pytest.approx(THRESHOLD, abs=2e-4)
        if abs(end) < 1:
            assert evidence(case, end + outside * 1e-3 * (1 - abs(end))) > THRESHOLD
            assert evidence(case, end - outside * 1e-3 * (high - low)) < THRESHOLD
    grid = np.linspace(-1, 1, 401)
    kept = [d for d in grid if evidence(case, d) < THRESHOLD]
    assert all(low <= d <= high for d in kept)
    assert len(kept) == np.count_nonzero((grid >= low) & (grid <= high)), "no gaps"


@pytest.mark.parametrize(("n", "correct"), [(0, 0), (1, 1), (1, 0), (50, 50), (50, 0), (1000, 930), (10**8, 9 * 10**7)])
def test_a_single_arms_interval(n: int, correct: int) -> None:
    (low,), (high,) = rate_interval(one(n, correct), 0.05)
    assert 0 <= low <= (correct / n if n else 0.5) <= high <= 1
    for end, last in ((low, 0.0), (high, 1.0)):
        log_e = rate_log_e(one(n, correct), np.array([end]))[0][0]
        assert log_e == pytest.approx(THRESHOLD, abs=2e-4) or (end == last and log_e < THRESHOLD)


def test_without_feedback_nothing_is_excluded() -> None:
    assert evidence((0, 0, 0, 0), 0.4) == pytest.approx(0)
    assert [end.tolist() for end in difference_interval(*pair((0, 0, 0, 0)), 0.05)] == [[-1.0], [1.0]]
    assert [str(end) for end in rate_interval(one(0, 0), 0.05)] == ["[0.]", "[1.]"], "no -0"


def test_one_arm_alone_says_nothing_about_a_small_difference() -> None:
    assert evidence((5000, 4500, 0, 0), 0.05) < THRESHOLD
    (low,), (high,) = difference_interval(*pair((5000, 4500, 0, 0)), 0.05)
    assert low == pytest.approx(-0.92, abs=0.02), "the other accuracy may be 0"
    assert high == pytest.approx(0.12, abs=0.02), "or 1"


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), min_size=2, max_size=2), st.floats(0.001, 0.5))
@settings(max_examples=60, deadline=None)
def test_swapped_labels_mirror_the_interval(arms: list[tuple[int, int]], alpha: float) -> None:
    """Right and wrong exchanged: the difference changes its sign, whatever the counts."""
    (n0, s0), (n1, s1) = ((max(arm), min(arm)) for arm in arms)
    (low,), (high,) = difference_interval(*pair((n0, s0, n1, s1)), alpha)
    (mirrored_low,), (mirrored_high,) = difference_interval(*pair((n0, n0 - s0, n1, n1 - s1)), alpha)
    assert -1 <= low <= high <= 1
    assert (low, high) == (pytest.approx(-mirrored_high, abs=1e-6), pytest.approx(-mirrored_low, abs=1e-6))


def test_comparisons_of_a_batch_do_not_touch_each_other() -> None:
    together = difference_interval(*many(CASES), 0.01)
    alone = [difference_interval(*pair(case), 0.01) for case in CASES]
    assert together[0] == pytest.approx([low[0] for low, _ in alone], abs=1e-6)
    assert together[1] == pytest.approx([high[0] for _, high in alone], abs=1e-6)
