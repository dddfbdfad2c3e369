"""The promise of the A/B test, by simulation: it may be looked at after every answer."""

from __future__ import annotations

import numpy as np
import pytest

from app.ab_test import compare
from app.e_process import Counts, difference_interval
from app.feedback import Feedback
from benchmarks.feedback_streams import Scenario, chunks
from benchmarks.sequential_tests import e_process, first_excluding, fixed_horizon, peeking_z_test

ALPHA = 0.05
TESTS = 2000
EQUAL = [Scenario(champion=p, challenger=p, share=share) for p in (0.6, 0.9, 0.99) for share in (0.5, 0.1)]


@pytest.mark.parametrize("scenario", EQUAL, ids=str)
def test_false_positives_when_looked_at_after_every_answer(scenario: Scenario) -> None:
    wrong = [e_process(part, ALPHA) >= 0 for part in chunks(1, scenario, tests=TESTS, looks=3000, step=1)]
    assert np.concatenate(wrong).shape == (TESTS,)
    assert np.concatenate(wrong).mean() <= ALPHA


def test_false_positives_over_a_hundred_thousand_answers() -> None:
    """They do not pile up with time."""
    scenario = Scenario(champion=0.9, challenger=0.9, share=0.1)
    wrong = [e_process(part, ALPHA) >= 0 for part in chunks(2, scenario, tests=TESTS, looks=1000, step=100)]
    assert np.concatenate(wrong).mean() <= ALPHA


def test_the_simulation_finds_a_test_that_is_not_valid() -> None:
    scenario = Scenario(champion=0.9, challenger=0.9, share=0.5)
    wrong = [peeking_z_test(part, ALPHA) >= 0 for part in chunks(1, scenario, tests=TESTS, looks=3000, step=1)]
    assert np.concatenate(wrong).mean() > 4 * ALPHA


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario(champion=0.9, challenger=0.93, share=0.1),
        Scenario(champion=0.95, challenger=0.7, share=0.5),
        Scenario(champion=0.5, challenger=0.52, share=0.9),
    ],
    ids=str,
)
def test_the_true_difference_is_never_excluded_at_any_time(scenario: Scenario) -> None:
    null = scenario.champion, scenario.challenger
    missed = [
        first_excluding(part, scenario.difference, null, ALPHA) >= 0
        for part in chunks(3, scenario, tests=TESTS, looks=2000, step=1)
    ]
    assert np.concatenate(missed).mean() <= ALPHA


def test_intervals_that_are_looked_at_hold_the_true_difference_and_get_narrow() -> None:
    scenario = Scenario(champion=0.88, challenger=0.92, share=0.1)
    (part,) = chunks(4, scenario, tests=200, looks=10, step=1000)
    champion, challenger = (Counts(arm.n.ravel(), arm.correct.ravel()) for arm in (part.champion, part.challenger))
    low, high = (end.reshape(200, 10) for end in difference_interval(champion, challenger, ALPHA))
    assert ((low > scenario.difference) | (high < scenario.difference)).any(1).mean() <= ALPHA
    # Twice 1.96 standard errors of a difference that is looked at once, at the end.
    once = 3.92 * np.sqrt(0.88 * 0.12 / 9000 + 0.92 * 0.08 / 1000)
    assert np.median((high - low)[:, -1]) < 2.2 * once


@pytest.mark.parametrize(("share", "most"), [(0.5, 1.9), (0.1, 1.9)])
def test_power(share: float, most: float) -> None:
    """Median answers needed, against those of a z-test of the same error rates that must not be looked at before."""
    scenario = Scenario(champion=0.88, challenger=0.92, share=share)
    fixed = fixed_horizon(scenario, ALPHA, power=0.8)
    step = fixed // 50
    first = np.concatenate([e_process(part, ALPHA) for part in chunks(5, scenario, tests=600, looks=200, step=step)])
    assert (first >= 0).mean() > 0.95, "within four times the answers of the fixed test"
    needed = np.where(first >= 0, (first + 1) * step, np.inf)
    assert np.median(needed) < most * fixed


def test_the_forecast_is_the_median_when_the_present_accuracies_are_true() -> None:
    scenario = Scenario(champion=0.88, challenger=0.92, share=0.1)
    forecast = compare(("a", Feedback(4500, 3960)), {"b": Feedback(500, 460)}).contrasts[0].remaining
    assert forecast is not None
    first = np.concatenate([e_process(part, ALPHA) for part in chunks(6, scenario, tests=600, looks=200, step=150)])
    needed = np.where(first >= 0, (first + 1) * 150.0, np.inf)
    assert 5000 + forecast == pytest.approx(np.median(needed), rel=0.25)
