"""Medians, spreads, and ratios taken pair by pair."""

from __future__ import annotations

import pytest

from benchmarks.figures import Figures, Ratio, quotients


def test_median_and_spread() -> None:
    figures = Figures.of([3.0, 1.0, 2.0, 10.0])
    assert (figures.median, figures.low, figures.high, figures.runs) == (2.5, 1.0, 10.0, 4)


def test_nothing_measured_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        Figures.of([])


def test_ratios_are_of_pairs() -> None:
    """A slow second round slows down both: the ratio of medians over rounds would not see that."""
    assert quotients([1.0, 20.0, 3.0], [1.0, 10.0, 3.0]).values == (1.0, 2.0, 1.0)
    with pytest.raises(ValueError, match="zip"):
        quotients([1.0], [1.0, 2.0])


@pytest.mark.parametrize(("bar", "met"), [(1.5, True), (1.4, False)])
def test_a_time_has_to_stay_below_its_bar(bar: float, met: bool) -> None:
    assert Ratio("time", Figures.of([1.0, 1.5, 9.0]), bar=bar).met is met


def test_a_share_has_to_reach_its_bar() -> None:
    assert Ratio("share", Figures.of([0.95]), bar=0.95, better="higher").met
    assert not Ratio("share", Figures.of([0.94]), bar=0.95, better="higher").met
