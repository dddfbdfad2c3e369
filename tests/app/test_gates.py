"""A gate lets through what was measured to be good enough, and nothing else."""

from __future__ import annotations

import pytest

from app.errors import GateFailed
from app.gates import Gate, require

NAN = float("nan")


@pytest.mark.parametrize(
    ("measured", "limit", "passed"),
    [
        (0.5, 1.0, True),
        (1.0, 1.0, True),
        (1.0001, 1.0, False),
        (-3.0, 0.0, True),
        (float("inf"), 1.0, False),
        (NAN, 1.0, False),
        (0.0, NAN, False),
    ],
)
def test_a_gate(measured: float, limit: float, passed: bool) -> None:
    assert Gate("difference", measured, limit).passed is passed


def test_a_gate_says_by_how_much_it_failed() -> None:
    assert str(Gate("loss", 0.25, 0.05)) == "loss 0.25 (limit 0.05): failed by 0.2"
    assert str(Gate("loss", 0.01, 0.05)) == "loss 0.01 (limit 0.05): passed"


def test_all_passed_is_silent() -> None:
    require([Gate("one", 0, 1), Gate("two", 1, 1)])
    require([])


def test_every_failed_gate_is_named() -> None:
    with pytest.raises(GateFailed) as caught:
        require([Gate("one", 3, 1), Gate("two", 0, 1), Gate("three", NAN, 1)])
    assert str(caught.value) == "one 3 (limit 1): failed by 2; three nan (limit 1): failed by nan"


def test_exactly_the_limit_passes() -> None:
    """Three images of a thousand: the difference of two shares is a little more than 0.003 half of the time."""
    for right in range(4, 1001):
        assert Gate("loss", right / 1000 - (right - 3) / 1000, 0.003).passed
        assert not Gate("loss", right / 1000 - (right - 4) / 1000, 0.003).passed
