"""A live comparison of the champion with challengers on feedback, which may be looked at all the time.

Each answer whose true class is known later counts as right or wrong for the version that gave it. `compare` says from
these counts what is certain by now. Its intervals hold at all times at once, so it may be called after every answer and
the test be ended whenever it says so: with alpha = 0.05, at most 5 % of all tests ever claim a difference that is not
there. `app/e_process.py` has the method and why that holds exactly, for any number of answers and any traffic shares.

**What has to be stored** are two whole numbers for each arm, `Feedback.n` and `Feedback.correct`, besides alpha, the
margin and the number of challengers, which must stay as they were when the test began. Nothing depends on the order, so
late feedback may be added at any time; the caller must count each answer once.

**What has to hold.** Answers are right or wrong independently of each other, each arm's with a rate that stays the
same. Users are assigned by chance, and whether and when feedback comes depends on the arm no differently for right than
for wrong answers. Both arms are counted over the same time: when accuracy drifts with the hour, a change of the traffic
shares midway compares different hours, so begin a new test when shares change by much.

**Several challengers** are each compared with the champion at alpha / number of challengers (Bonferroni), so that alpha
is the probability of any false claim at all. Their p-values are multiplied by that number to be compared with alpha.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from app.e_process import Counts, difference_evidence, difference_interval, rate_interval
from app.errors import BadInput
from app.newton import increasing_root

ALPHA = 0.05
MARGIN = 0.01
"""Of accuracy (0.01 is one point): within it, versions are equivalent unless the user sets another."""
FARTHEST_FORECAST = 1e9
"""Answers. A verdict that would take more is not in sight."""
_FORECAST_NATS = 0.01


class Verdict(StrEnum):
    BETTER = "challenger better"
    WORSE = "challenger worse"
    EQUIVALENT = "equivalent"
    UNDECIDED = "keep collecting"


@dataclass(frozen=True, slots=True)
class Feedback:
    """Answers of one arm whose true class is known: all the state there is."""

    n: int = 0
    correct: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.correct <= self.n:
            raise BadInput(f"feedback must have 0 <= correct <= n, not {self.correct} correct of {self.n}")

    def __add__(self, other: Feedback) -> Feedback:
        return Feedback(self.n + other.n, self.correct + other.correct)

    @property
    def accuracy(self) -> float | None:
        """None when there is no feedback."""
        return self.correct / self.n if self.n else None


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
    """Further answers of both arms together until a verdict, at the present accuracies and shares; 0 with a verdict.

    The number for which `compare` has a verdict when each arm goes on with the mean accuracy (correct + 1/2) / (n + 1).
    So about half of the tests take longer if these are the true accuracies, and early on they hardly are. None when an
    arm has no feedback, or the number exceeds FARTHEST_FORECAST.
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
    """champion: its name and feedback; challengers: feedback by name, all that ever took part in this test.

    A challenger is better or worse when the whole interval of the difference lies above or below 0; otherwise
    equivalent when it lies within -margin and +margin. Raises BadInput when there is no challenger, or alpha or margin
    make no sense.
    """
    if not challengers:
        raise BadInput("an A/B test needs a challenger")
    if not 0 < alpha < 1:
        raise BadInput(f"alpha must lie between 0 and 1, not {alpha:g}")
    if not 0 < margin <= 1:
        raise BadInput(f"the margin must be above 0 and at most 1, not {margin:g}")
    count = len(challengers)
    ours, theirs = _counts([champion[1]] * count), _counts(list(challengers.values()))
    lows, highs = difference_interval(ours, theirs, alpha / count)
    log_e = difference_evidence(ours, theirs, np.zeros(count)).log_e
    p_values = np.minimum(1.0, count * np.exp(-np.maximum(log_e, 0.0)))
    intervals = [Interval(float(low), float(high)) for low, high in zip(lows, highs, strict=True)]
    verdicts = [_verdict(interval, margin) for interval in intervals]
    forecasts = _forecasts(ours, theirs, alpha / count, margin)
    first, *others = _arms([champion, *challengers.items()], alpha)
    return Comparison(
        champion=first,
        contrasts=tuple(
            Contrast(
                challenger=arm,
                difference=None if arm.accuracy is None or first.accuracy is None else arm.accuracy - first.accuracy,
                interval=interval,
                p_value=float(p_value),
                verdict=verdict,
                remaining=forecast if verdict is Verdict.UNDECIDED else 0,
            )
            for arm, interval, p_value, verdict, forecast in zip(
                others, intervals, p_values, verdicts, forecasts, strict=True
            )
        ),
        alpha=alpha,
        margin=margin,
    )


def _arms(feedback: Sequence[tuple[str, Feedback]], alpha: float) -> list[Arm]:
    lows, highs = rate_interval(_counts([arm for _, arm in feedback]), alpha)
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


def _forecasts(champion: Counts, challenger: Counts, alpha: float, margin: float) -> list[int | None]:
    """`Contrast.remaining` of each of B undecided comparisons."""
    b = len(champion.n)
    # A verdict comes when no difference is excluded, or both margins are.
    excluded = np.repeat([0.0, -margin, margin], b)
    arms = [champion.repeat(3), challenger.repeat(3)]
    total = arms[0].n + arms[1].n
    shares = [arm.n / np.maximum(total, 1.0) for arm in arms]
    rates = [(arm.correct + 0.5) / (arm.n + 1.0) for arm in arms]
    threshold = -np.log(alpha)
    log_e_now = difference_evidence(arms[0], arms[1], excluded).log_e
    nuisance = None

    def beyond(more: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Evidence after that many answers more, and its mean growth until then: nearly its slope there."""
        nonlocal nuisance
        later = [
            Counts(arm.n + more * share, arm.correct + more * share * rate)
            for arm, share, rate in zip(arms, shares, rates, strict=True)
        ]
        evidence = difference_evidence(later[0], later[1], excluded, nuisance)
        nuisance = evidence.rate
        return evidence.log_e - threshold, (evidence.log_e - log_e_now) / np.maximum(more, 1e-9)

    gap = rates[1] - rates[0] - excluded
    spread = np.sum(
        [rate * (1 - rate) / np.maximum(share, 1e-9) for rate, share in zip(rates, shares, strict=True)], axis=0
    )
    guess = 2 * (threshold + 3) * spread / np.maximum(gap * gap, 1e-12) - total
    ends = np.zeros(3 * b), np.full(3 * b, FARTHEST_FORECAST)
    needed = increasing_root(beyond, np.maximum(guess, 1.0), *ends, _nearly_there)
    by_verdict = np.where(log_e_now >= threshold, 0.0, needed).reshape(3, b)
    nearest = np.minimum(by_verdict[0], by_verdict[1:].max(0))
    known = (champion.n > 0) & (challenger.n > 0) & (nearest < FARTHEST_FORECAST)
    return [max(1, int(np.ceil(more))) if estimable else None for more, estimable in zip(nearest, known, strict=True)]


def _nearly_there(beyond: np.ndarray, _slope: np.ndarray) -> np.ndarray:
    return (beyond >= 0) & (beyond <= _FORECAST_NATS)


def _counts(feedback: Sequence[Feedback]) -> Counts:
    return Counts(np.array([arm.n for arm in feedback], float), np.array([arm.correct for arm in feedback], float))
