"""Evidence against a difference of two rates that may be looked at all the time: an e-process on counts.

**The martingale.** Let `p` and `q` be the rates of two arms (champion, challenger) and `a`, `b` any two numbers. Weigh
each success of the first arm by `e^a`, of the second by `e^b`, and divide each observation by what its weight is
expected to be:

    exp(a*s0) / (1 + p*(e^a - 1))^n0  *  exp(b*s1) / (1 + q*(e^b - 1))^n1

With every new 0 or 1, of whichever arm, this changes by a factor whose expectation is exactly 1. So it is a nonnegative
martingale that starts at 1, however the next arm is chosen, and by Ville's inequality (1939) the probability that it
ever reaches 1/alpha is at most alpha. Nothing here is asymptotic. It is the likelihood ratio of rates whose log-odds
are `a` and `b` higher, and a mixture over such pairs, with weights that add up to 1, is a martingale too (Robbins 1970,
method of mixtures; Kaufmann & Koolen 2018, arXiv:1811.11419, for several arms).

**The difference.** Against "challenger - champion = d" counts what is left at the worst `p`: `E(d)`, the minimum over
`p` of the mixture at (p, p + d), never exceeds the martingale at the true rates (an e-process: Ramdas et al. 2020,
arXiv:2009.03167). All `d` with `E(d) < 1/alpha` together are a confidence sequence, and `1 / E(0)` is an always-valid
p-value (Johari, Pekelis & Walsh 2015, arXiv:1512.04922). Both depend on counts alone, not on the order.

**Why moved rates, not a prior over rates.** The usual mixture has its prior over (p, q) and pays for learning both,
though only their difference is in question. Here the alternatives move with the null hypothesis, both arms in opposite
directions: `a = -w*x`, `b = (1 - w)*x`. Where `w` is the challenger's share of the observations, their likelihood ratio
hardly depends on `p`, so that the minimum costs next to nothing. The safe test for two proportions reaches the same
with blocks of fixed sizes (Turner, Ly & Grünwald 2021, arXiv:2106.02693); this needs no blocks, and takes any order
and any shares, for the mixture is over `x` and over a few `w`. `docs/PERFORMANCE.md` has what it gains.

**Why it is quick and exact.** The logarithm of the mixture is convex in (p, q): each `-n*log(1 + p*(e^a - 1))` is, and
the logarithm of a sum of exponentials keeps that. So the minimum over `p` has no second one beside it, `log E` is
convex in `d`, what is not excluded is one interval, and Newton's method finds its ends from outside.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.newton import increasing_root

_EFFECTS = np.geomspace(0.01, 4.0, 12)
"""Differences of log-odds: 0.01 is 0.09 points at an accuracy of 90 %, 4 leads from 90 to 14 %."""
_TYPICAL_EFFECT, _SPREAD = 0.3, 1.2
"""The effects' weights: a normal density of log(effect). 0.3 leads from 90 to 92.4 %."""
_SHARES = {0.03: 1.0, 0.1: 2.0, 0.25: 2.0, 0.5: 2.0, 0.75: 1.0, 0.9: 1.0, 0.97: 0.5}
"""The challenger's share of the observations, with weights: a test needs no more than one near its own."""

_NATS = 1e-7
"""To which the least evidence is found."""
_END_NATS = 1e-4
"""By how much more than asked the ends of an interval may be excluded."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Observations and successes of one arm in each of B comparisons. Whole numbers, except in a forecast."""

    n: np.ndarray
    """float64 [B]."""
    correct: np.ndarray
    """float64 [B]."""

    @property
    def rate(self) -> np.ndarray:
        """The share of successes; 0.5 where there is no observation."""
        return np.where(self.n > 0, self.correct / np.maximum(self.n, 1.0), 0.5)

    def repeat(self, count: int) -> Counts:
        """All comparisons, `count` times over."""
        return Counts(np.tile(self.n, count), np.tile(self.correct, count))


@dataclass(frozen=True, slots=True)
class _Tilt:
    """By how much K alternatives move one arm's log-odds."""

    exponent: np.ndarray
    """float64 [K]."""
    growth: np.ndarray
    """e^exponent - 1."""

    @classmethod
    def of(cls, exponent: np.ndarray) -> _Tilt:
        return cls(exponent, np.expm1(exponent))

    def against(self, counts: Counts, rate: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Log-likelihood ratios of the alternatives to `rate` [B], first and second derivative by it: [B, K] each."""
        n = counts.n[:, None]
        mean = 1.0 + rate[:, None] * self.growth
        relative = self.growth / mean
        first = -n * relative
        return counts.correct[:, None] * self.exponent - n * np.log(mean), first, -first * relative


def _weights(*factors: np.ndarray) -> np.ndarray:
    """Logarithms of the normalized products of all combinations, flat."""
    product = np.ones(1)
    for factor in factors:
        product = np.outer(product, factor).ravel()
    return np.log(product / product.sum())


_SIGNS = np.array([1.0, -1.0])
_EFFECT_WEIGHTS = np.exp(-0.5 * (np.log(_EFFECTS / _TYPICAL_EFFECT) / _SPREAD) ** 2)
_SIGNED = np.outer(_SIGNS, _EFFECTS).ravel()
_SINGLE, _SINGLE_WEIGHTS = _Tilt.of(_SIGNED), _weights(np.ones(2), _EFFECT_WEIGHTS)
_SHARE, _SHARE_WEIGHT = np.array(list(_SHARES)), np.array(list(_SHARES.values()))
_CHAMPION = _Tilt.of(np.outer(_SIGNED, -_SHARE).ravel())
_CHALLENGER = _Tilt.of(np.outer(_SIGNED, 1.0 - _SHARE).ravel())
_PAIR_WEIGHTS = _weights(np.ones(2), _EFFECT_WEIGHTS, _SHARE_WEIGHT)


def _mixed(exponents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logarithm [B] of the sum of e^exponents [B, K] over K, and the share [B, K] of each."""
    largest = exponents.max(1, keepdims=True)
    parts = np.exp(exponents - largest)
    total = parts.sum(1, keepdims=True)
    return (largest + np.log(total))[:, 0], parts / total


def _mean(share: np.ndarray, values: np.ndarray) -> np.ndarray:
    """float64 [B]: of values [B, K]."""
    return np.einsum("bk,bk->b", share, values)


def _between_0_and_1(rate: np.ndarray) -> np.ndarray:
    """A sum of rates may leave it by a rounding error."""
    return np.minimum(np.maximum(rate, 0.0), 1.0)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Against one difference, in each of B comparisons; float64 [B] each."""

    log_e: np.ndarray
    """Its always-valid p-value is e^-log_e."""
    slope: np.ndarray
    """Change of log_e with the difference."""
    rate: np.ndarray
    """The champion's rate for which there is the least evidence."""


def difference_evidence(
    champion: Counts, challenger: Counts, difference: np.ndarray, start: np.ndarray | None = None
) -> Evidence:
    """Against differences [B] of the rates (challenger - champion), each in [-1, 1].

    start: float64 [B], champion's rates from which on the one with the least evidence is looked for.
    """
    low, high = np.maximum(0.0, -difference), np.minimum(1.0, 1.0 - difference)
    if start is None:
        n = np.maximum(champion.n + challenger.n, 1.0)
        start = (champion.correct + challenger.correct - challenger.n * difference) / n

    log_e, by_difference = start, start

    def slope_and_curvature(rate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        nonlocal log_e, by_difference
        other = rate + difference
        log_e, share, first0, first1, second = _pair(champion, challenger, rate, other)
        by_champion, by_challenger = _mean(share, first0), _mean(share, first1)
        slope = by_champion + by_challenger
        # Where the challenger's rate is stuck at 0 or 1, the champion's moves when the difference does.
        by_difference = np.where((other <= 0) | (other >= 1), -by_champion, by_challenger)
        return slope, _mean(share, (first0 + first1) ** 2 + second) - slope * slope

    rate = increasing_root(slope_and_curvature, start, low, high, _flat)
    return Evidence(log_e, by_difference, rate)


def log_martingale(champion: Counts, challenger: Counts, rate: np.ndarray, other: np.ndarray) -> np.ndarray:
    """float64 [B]: logarithm of the mixture at the champion's rates and the challenger's `other` rates, [B] each."""
    return _pair(champion, challenger, rate, other)[0]


def _pair(champion: Counts, challenger: Counts, rate: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, ...]:
    """Logarithm [B] of the mixture, the alternatives' shares in it, and the derivatives of their log-likelihood ratios.

    Of these the first by either rate, and the sum of both second ones: [B, K] each, as the shares.
    """
    value0, first0, second0 = _CHAMPION.against(champion, rate)
    value1, first1, second1 = _CHALLENGER.against(challenger, _between_0_and_1(other))
    log_m, share = _mixed(_PAIR_WEIGHTS + value0 + value1)
    return log_m, share, first0, first1, second0 + second1


def rate_log_e(counts: Counts, rate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log E and its slope, float64 [B] each, against rates [B] of single arms."""
    value, first, _ = _SINGLE.against(counts, rate)
    log_e, share = _mixed(_SINGLE_WEIGHTS + value)
    return log_e, _mean(share, first)


def difference_interval(champion: Counts, challenger: Counts, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper end, float64 [B] each, of the differences that are not excluded, within [-1, 1]."""
    b = len(champion.n)
    sign = np.repeat([-1.0, 1.0], b)
    arms = champion.repeat(2), challenger.repeat(2)
    threshold = -np.log(alpha)
    rate = None

    def beyond(distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        nonlocal rate
        evidence = difference_evidence(*arms, sign * distance, rate)
        rate = evidence.rate
        return evidence.log_e - threshold, sign * evidence.slope

    # Ends are sought as distances along their sign, so that evidence rises with them.
    centre = sign * np.tile(challenger.rate - champion.rate, 2)
    width = np.tile(_guessed_width(threshold, champion, challenger), 2)
    ends = sign * increasing_root(beyond, centre + width, centre, np.ones(2 * b), _just_excluded)
    return ends[:b], ends[b:]


def rate_interval(counts: Counts, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper end, float64 [B] each, of the rates of single arms that are not excluded, within [0, 1]."""
    b = len(counts.n)
    sign = np.repeat([-1.0, 1.0], b)
    both = counts.repeat(2)
    threshold = -np.log(alpha)

    def beyond(distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        log_e, slope = rate_log_e(both, _between_0_and_1(sign * distance))
        return log_e - threshold, sign * slope

    centre = sign * both.rate
    width = np.tile(_guessed_width(threshold, counts), 2)
    last = np.where(sign > 0, 1.0, 0.0)
    ends = sign * increasing_root(beyond, centre + width, centre, last, _just_excluded) + 0.0  # no -0.0
    return ends[:b], ends[b:]


def _flat(slope: np.ndarray, curvature: np.ndarray) -> np.ndarray:
    """Where a parabola's lowest point would be less than `_NATS` below."""
    return slope * slope <= 2 * _NATS * curvature


def _just_excluded(beyond: np.ndarray, _slope: np.ndarray) -> np.ndarray:
    return (beyond >= 0) & (beyond <= _END_NATS)


def _guessed_width(threshold: float, *arms: Counts) -> np.ndarray:
    """float64 [B]: half of the interval, by the normal distribution and a usual price of mixing."""
    rates = [(arm.correct + 0.5) / (arm.n + 1.0) for arm in arms]
    variance = np.sum([rate * (1 - rate) / (arm.n + 1.0) for rate, arm in zip(rates, arms, strict=True)], axis=0)
    return np.sqrt(2.0 * (threshold + 3.0) * variance)
