"""A live comparison of the champion with challengers on feedback, which may be looked at all the time.

Each answer whose true class is known later counts as right or wrong for the version that gave it. `compare` says from
these counts what is certain by now. Its intervals hold at all times at once, so it may be called after every answer and
the test be ended whenever it says so: with alpha = 0.05, at most 5 % of all tests ever claim a difference that is not
there. `app/e_process.py` has the method and why that holds exactly, for any number of answers and any traffic shares.

**What has to be stored** are two whole numbers for each arm, `Feedback.n` and `Feedback.correct`, besides alpha, the
margin and the number of challengers, which must stay as they were when the test began. Nothing depends on the order, so
late feedback may be added at any time; the caller must count each answer once. The answer is about these counts alone:
later ones may widen it a little or take a verdict back, so act on the first verdict there is, which is as valid as any.

**What has to hold.** Answers are right or wrong independently of each other, each arm's with a rate that stays the
same. Many images of one user, or of one scene, are not independent. Users are assigned by chance, and whether feedback
comes, and how soon, does not depend on whether the answer was right. Both arms are counted over the same time: where
accuracy changes with the hour, a change of the traffic shares compares different hours, so it begins a new test.

**Several challengers** are each compared with the champion at alpha / number of challengers (Bonferroni), so that alpha
is the probability of any false claim at all. Their p-values are multiplied by that number to be compared with alpha.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from app.e_process import difference_evidence, difference_interval, rate_interval
from app.errors import BadInput
from app.feedback import Feedback, counts_of
from app.forecast import answers_to_verdicts

ALPHA = 0.05
MARGIN = 0.01
"""Of accuracy (0.01 is one point): within it, versions are equivalent unless the user sets another."""


class Verdict(StrEnum):
    BETTER = "challenger better"
    WORSE = "challenger worse"
    EQUIVALENT = "equivalent"
    UNDECIDED = "keep collecting"


@dataclass(frozen=True, slots=True)
class Interval:
    """All values that are not excluded, both ends among them."""

    low: float
    high: float

    @property
    def farthest(self) -> float:
        """The largest distance from 0."""
        return max(abs(self.low), abs(self.high))


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    name: str
    n: int
    accuracy: float | None
    interval: Interval
    """Of the accuracy, always valid at 1 - alpha for this arm alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """One challenger against the champion."""

    challenger: Arm
    difference: float | None
    """Of accuracy, challenger - champion. None when an arm has no feedback."""
    interval: Interval
    """Of the difference, always valid at 1 - alpha for all challengers together."""
    p_value: float
    """Always valid, against no difference, corrected for the number of challengers."""
    verdict: Verdict
    remaining: int | None
    """Further answers of both arms together until a verdict, at the present difference and shares (`app/forecast.py`).

    0 with a verdict, None when it cannot be told.
    """

    def __str__(self) -> str:
        points = f"{100 * self.interval.low:+.2f} to {100 * self.interval.high:+.2f} points"
        if self.verdict is Verdict.UNDECIDED:
            return f"keep collecting: no difference within {points} can be excluded yet"
        return f"{self.verdict}: {points}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    champion: Arm
    contrasts: tuple[Contrast, ...]
    """One for each challenger, in the order they were given in."""
    alpha: float
    margin: float


def compare(
    champion: tuple[str, Feedback],
    challengers: Mapping[str, Feedback],
    *,
    alpha: float = ALPHA,
    margin: float = MARGIN,
) -> Comparison:
    """champion: its name and feedback; challengers: feedback by name, of all that ever took part in this test.

    A challenger is better or worse when the whole interval of the difference lies above or below 0; otherwise
    equivalent when it lies within -margin and +margin. Raises BadInput when there is no challenger, or when alpha or
    the margin make no sense.
    """
    if not challengers:
        raise BadInput("an A/B test needs a challenger")
    if not 0 < alpha < 1:
        raise BadInput(f"alpha must lie between 0 and 1, not {alpha:g}")
    if not 0 < margin <= 1:
        raise BadInput(f"the margin must be above 0 and at most 1, not {margin:g}")
    names, feedback, count = list(challengers), list(challengers.values()), len(challengers)
    ours, theirs = counts_of([champion[1]] * count), counts_of(feedback)
    lows, highs = difference_interval(ours, theirs, alpha / count)
    intervals = [Interval(float(low), float(high)) for low, high in zip(lows, highs, strict=True)]
    log_e = difference_evidence(ours, theirs, np.zeros(count)).log_e
    verdicts = [_verdict(interval, margin) for interval in intervals]
    undecided = [index for index, verdict in enumerate(verdicts) if verdict is Verdict.UNDECIDED]
    forecasts = answers_to_verdicts(champion[1], [feedback[index] for index in undecided], alpha / count, margin)
    remaining = dict(zip(undecided, forecasts, strict=True))
    first, *others = _arms([champion, *zip(names, feedback, strict=True)], alpha)
    contrasts = tuple(
        Contrast(
            challenger=arm,
            difference=None if arm.accuracy is None or first.accuracy is None else arm.accuracy - first.accuracy,
            interval=intervals[index],
            p_value=min(1.0, count * math.exp(-max(float(log_e[index]), 0.0))),
            verdict=verdicts[index],
            remaining=remaining.get(index, 0),
        )
        for index, arm in enumerate(others)
    )
    return Comparison(champion=first, contrasts=contrasts, alpha=alpha, margin=margin)


def _arms(feedback: Sequence[tuple[str, Feedback]], alpha: float) -> list[Arm]:
    lows, highs = rate_interval(counts_of([arm for _, arm in feedback]), alpha)
    return [
        Arm(name=name, n=arm.n, accuracy=arm.accuracy, interval=Interval(float(low), float(high)))
        for (name, arm), low, high in zip(feedback, lows, highs, strict=True)
    ]


def _verdict(interval: Interval, margin: float) -> Verdict:
    if interval.low > 0:
        return Verdict.BETTER
    if interval.high < 0:
        return Verdict.WORSE
    return Verdict.EQUIVALENT if interval.farthest <= margin else Verdict.UNDECIDED
