"""How much more feedback undecided comparisons of an A/B test need, if things go on as they are."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from app.e_process import Counts, difference_evidence
from app.feedback import Feedback, counts_of
from app.newton import increasing_root

FARTHEST = 1e9
"""Answers. A verdict that would take more is not in sight."""
_NATS = 0.03
"""By which evidence may miss what a verdict takes: 1 % of it, and so of the answers."""


def answers_to_verdicts(
    champion: Feedback, challengers: Sequence[Feedback], alpha: float, margin: float
) -> list[int | None]:
    """Further answers of the champion and each challenger together until a verdict on the two.

    It is the number after which no difference is excluded, or else -margin and margin both are, when the two arms keep
    their present shares of the answers and each goes on with exactly the accuracy (correct + 1/2) / (n + 1). Chance
    makes a test longer or shorter: were these the true accuracies, it would end by then in somewhat more than half of
    all cases. With few answers they are a poor guess, drawn to 1/2, and so is the number. None when an arm has no
    feedback, or above FARTHEST.
    """
    if not champion.n:
        return [None] * len(challengers)
    known = [arm for arm in challengers if arm.n]
    found = iter(_answers(counts_of([champion] * len(known)), counts_of(known), -math.log(alpha), margin))
    nearest = [next(found) if arm.n else math.inf for arm in challengers]
    return [math.ceil(answers) if answers < FARTHEST else None for answers in nearest]


def _answers(champion: Counts, challenger: Counts, threshold: float, margin: float) -> list[float]:
    b = len(champion.n)
    arms, excluded = (champion.repeat(3), challenger.repeat(3)), np.repeat([0.0, -margin, margin], b)
    total = arms[0].n + arms[1].n
    shares = [arm.n / total for arm in arms]
    rates = [(arm.correct + 0.5) / (arm.n + 1) for arm in arms]
    now = difference_evidence(arms[0], arms[1], excluded)
    before, log_e, nuisance = np.zeros(3 * b), now.log_e, now.rate

    def beyond(more: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Evidence beyond the threshold after that many answers more, and its slope since the step before."""
        nonlocal before, log_e, nuisance
        later = [
            Counts(arm.n + more * share, arm.correct + more * share * rate)
            for arm, share, rate in zip(arms, shares, rates, strict=True)
        ]
        evidence = difference_evidence(later[0], later[1], excluded, nuisance)
        moved = more != before
        slope = np.where(moved, (evidence.log_e - log_e) / np.where(moved, more - before, 1.0), 0.0)
        before, log_e, nuisance = more, evidence.log_e, evidence.rate
        return evidence.log_e - threshold, slope

    gap = rates[1] - rates[0] - excluded
    spread = rates[0] * (1 - rates[0]) / shares[0] + rates[1] * (1 - rates[1]) / shares[1]
    guess = 2 * (threshold + 3) * spread / np.maximum(gap * gap, 1e-12) - total
    ends = np.zeros(3 * b), np.full(3 * b, FARTHEST)
    needed = increasing_root(beyond, np.maximum(guess, 1.0), *ends, _nearly_there)
    needed = np.where(now.log_e >= threshold, 0.0, needed).reshape(3, b)
    return np.minimum(needed[0], np.maximum(needed[1], needed[2])).tolist()


def _nearly_there(beyond: np.ndarray, _slope: np.ndarray) -> np.ndarray:
    return np.abs(beyond) <= _NATS
