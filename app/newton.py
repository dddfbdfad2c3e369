"""Newton's method on many functions of one variable at once, kept within brackets so that it cannot fail."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

_NEWTON_STEPS, _ALL_STEPS = 15, 80
"""Newton settles within a few steps or hardly at all; halving takes fewer than 65 to the last bit."""

Evaluate = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""float64 [B] -> values and slopes, float64 [B] each."""


def increasing_root(
    evaluate: Evaluate,
    start: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    close_enough: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> np.ndarray:
    """float64 [B]: where B functions, none of them ever falling on [low, high], reach zero.

    Where one has no zero there, `low` if it is positive and `high` if it is negative. close_enough(values, slopes) ->
    bool [B] says which points may be taken. What is returned is what was evaluated last. All arrays are float64 [B]. A
    slope that is wrong costs steps, never the result.
    """
    low, high = low.copy(), high.copy()
    low_seen, high_seen = np.zeros(len(start), bool), np.zeros(len(start), bool)
    point, finished = np.clip(start, low, high), np.zeros(len(start), bool)
    for count in itertools.count(1):
        value, slope = evaluate(point)
        below = value < 0
        at_an_end = np.where(below, point >= high, point <= low)
        low, high = np.where(below, point, low), np.where(below, high, point)
        low_seen, high_seen = low_seen | below, high_seen | ~below
        finished |= close_enough(value, slope) | at_an_end
        if finished.all() or count == _ALL_STEPS:
            break
        middle = (low + high) / 2
        rising = slope > 0
        step = np.where(rising, point - value / np.where(rising, slope, 1.0), middle)
        # An end that nobody has looked at yet may hold the answer itself, which halving would only creep up to.
        step = np.where(step <= low, np.where(low_seen, middle, low), step)
        step = np.where(step >= high, np.where(high_seen, middle, high), step)
        point = np.where(finished, point, step if count <= _NEWTON_STEPS else middle)
    return point
