"""The tests that the product's is measured against do what they are known for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.feedback_streams import Scenario, Streams, chunks, streams
from benchmarks.sequential_tests import (
    e_process,
    first_excluding,
    fixed_horizon,
    peeking_z_test,
    safe_test,
    two_intervals,
    uniform_mixture,
)

EQUAL = Scenario(champion=0.8, challenger=0.8, share=0.25)
FAR = Scenario(champion=0.5, challenger=0.9, share=0.25)


def feedback(scenario: Scenario, tests: int = 300, looks: int = 100, step: int = 10) -> Streams:
    return streams(np.random.default_rng(7), scenario, tests=tests, looks=looks, step=step)


def test_streams_have_the_shares_and_accuracies_of_their_scenario() -> None:
    last = feedback(FAR).at((np.arange(300), np.full(300, 99)))
    assert np.all(last[0].n + last[1].n == 1000)
    assert last[1].n.mean() == pytest.approx(250, rel=0.02)
    assert [arm.rate.mean() for arm in last] == pytest.approx([0.5, 0.9], abs=0.01)


def test_chunks_are_as_many_tests_as_asked_for() -> None:
    parts = list(chunks(0, EQUAL, tests=25, looks=10, step=1, cells=100))
    assert [part.champion.n.shape for part in parts] == [(10, 10), (10, 10), (5, 10)]


@pytest.mark.parametrize("test", [e_process, two_intervals, uniform_mixture])
def test_valid_ones_see_what_is_there_and_little_else(test: Callable[[Streams, float], np.ndarray]) -> None:
    assert (test(feedback(EQUAL), 0.05) >= 0).mean() <= 0.05
    assert (test(feedback(FAR), 0.05) >= 0).all()


def test_so_does_the_one_of_blocks() -> None:
    rng = np.random.default_rng(8)
    assert (safe_test(rng, EQUAL, tests=300, blocks=300, alpha=0.05) >= 0).mean() <= 0.05
    needed = safe_test(rng, FAR, tests=300, blocks=300, alpha=0.05)
    assert (needed > 0).all()
    assert (needed % 4 == 0).all(), "whole blocks of three and one"


def test_a_z_test_that_is_looked_at_again_and_again_is_not_valid() -> None:
    assert (peeking_z_test(feedback(EQUAL), 0.05) >= 0).mean() > 0.1


def test_a_fixed_z_test_has_the_power_it_is_planned_for() -> None:
    scenario = Scenario(champion=0.88, challenger=0.92, share=0.1)
    n = fixed_horizon(scenario, 0.05, power=0.8)
    once = feedback(scenario, tests=4000, looks=1, step=n)
    assert (peeking_z_test(once, 0.05) >= 0).mean() == pytest.approx(0.8, abs=0.04)


def test_short_cuts_leave_no_rejection_out() -> None:
    """Against evidence at every look, without the bounds that settle most of them."""
    from app.e_process import Counts, difference_evidence

    part = feedback(Scenario(champion=0.8, challenger=0.9, share=0.3), tests=60, looks=60)
    arms = [Counts(arm.n.ravel(), arm.correct.ravel()) for arm in (part.champion, part.challenger)]
    evidence = difference_evidence(arms[0], arms[1], np.zeros(3600)).log_e.reshape(60, 60) >= -np.log(0.05)
    first = np.where(evidence.any(1), evidence.argmax(1), -1)
    assert e_process(part, 0.05).tolist() == first.tolist()
    assert first_excluding(part, 0.0, (0.85, 0.85), 0.05).tolist() == first.tolist()
