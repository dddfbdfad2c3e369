"""The circuit breaker against a clock that the test turns."""

from __future__ import annotations

import pytest

from serve_deployments.breaker import Breaker


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(failures=3, window=5, pause_s=10, clock=clock)


def fail(breaker: Breaker, times: int) -> list[bool]:
    return [breaker.failed("broken") for _ in range(times)]


def test_it_opens_once_and_says_why(breaker: Breaker) -> None:
    assert fail(breaker, 3) == [False, False, True]
    assert not breaker.admits()
    assert breaker.reason == "broken"
    assert fail(breaker, 1) == [False], "those that were on their way open it no second time"


def test_rare_failures_do_not_open_it(breaker: Breaker) -> None:
    for _ in range(10):
        breaker.succeeded()
        breaker.succeeded()
        breaker.failed("once")
    assert breaker.admits()


def test_after_the_pause_one_request_tries(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now = 10
    assert [breaker.admits(), breaker.admits()] == [True, False]
    breaker.succeeded()
    assert not breaker.is_open
    assert [breaker.admits(), breaker.admits()] == [True, True]
    assert fail(breaker, 2) == [False, False], "what was before is forgotten"


def test_a_failed_trial_begins_a_new_pause(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now = 10
    assert breaker.admits()
    breaker.failed("still broken")
    clock.now = 19
    assert not breaker.admits()
    clock.now = 20
    assert breaker.admits()


def test_a_trial_whose_client_left_is_tried_again(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now = 10
    assert breaker.admits()
    breaker.abandoned()
    assert breaker.admits()
