"""Tests of "both arms are equally accurate" for feedback that is looked at again and again, side by side.

Each says at which look it first rejects: int [E], -1 where it never does.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from app.e_process import Counts, difference_evidence, log_martingale, rate_interval
from benchmarks.feedback_streams import Scenario, Streams

_AT_ONCE = 2_000
"""Looks, so that what is computed of them fits into a cache."""
_TINY = 1e-300
Rates = tuple[np.ndarray | float, np.ndarray | float]


def e_process(feedback: Streams, alpha: float) -> np.ndarray:
    """The product's own."""
    pooled = _pooled(feedback)
    return first_excluding(feedback, 0.0, (pooled, pooled), alpha)


def first_excluding(feedback: Streams, difference: float, null: Rates, alpha: float) -> np.ndarray:
    """The first look at which the product's test excludes the difference.

    null: rates with that difference, by which most looks are settled: evidence never exceeds the martingale there,
    nor that the largest likelihood ratio.
    """
    threshold = -np.log(alpha)
    possible = _largest_log_ratio(feedback, null) >= threshold
    tests, looks = np.nonzero(possible)
    rates = [np.broadcast_to(rate, possible.shape)[tests, looks] for rate in null]
    for start in range(0, len(tests), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        where = tests[part], looks[part]
        possible[where] = log_martingale(*feedback.at(where), rates[0][part], rates[1][part]) >= threshold
    first = np.full(len(possible), -1)
    while (undecided := np.flatnonzero((first < 0) & possible.any(1))).size:
        where = undecided, possible[undecided].argmax(1)
        evidence = difference_evidence(*feedback.at(where), np.full(len(undecided), difference))
        excluded = evidence.log_e >= threshold
        first[undecided[excluded]] = where[1][excluded]
        possible[where] = False
    return first


def two_intervals(feedback: Streams, alpha: float) -> np.ndarray:
    """An interval for each arm at alpha / 2, always valid: rejects when they do not meet."""
    shape = feedback.champion.n.shape
    # Where they do not meet, each rate, the pooled one too, is excluded by one of them.
    possible = _largest_log_ratio(feedback, (_pooled(feedback),) * 2) >= -np.log(alpha / 2)
    where = np.nonzero(possible)
    rejected = np.zeros(shape, bool)
    for start in range(0, len(where[0]), _AT_ONCE):
        part = tuple(index[start : start + _AT_ONCE] for index in where)
        (low0, high0), (low1, high1) = (rate_interval(arm, alpha / 2) for arm in feedback.at(part))
        rejected[part] = (low0 > high1) | (low1 > high0)
    return _first(rejected)


def uniform_mixture(feedback: Streams, alpha: float) -> np.ndarray:
    """Robbins' method of mixtures as it comes: two uniformly distributed accuracies against the best equal ones."""
    arms = feedback.champion, feedback.challenger
    pooled = _pooled(feedback)
    factorials = np.concatenate([[0.0], np.log(np.arange(1, int(max(arm.n.max() for arm in arms)) + 2)).cumsum()])
    log_e = np.zeros(pooled.shape)
    for arm in arms:
        n, correct = arm.n.astype(int), arm.correct.astype(int)
        log_e += factorials[correct] + factorials[n - correct] - factorials[n + 1] - _log_likelihood(arm, pooled)
    return _first(log_e >= -np.log(alpha))


def peeking_z_test(feedback: Streams, alpha: float) -> np.ndarray:
    """The test of two proportions for one look, at every look with at least 30 answers of each arm: not valid."""
    arms = feedback.champion, feedback.challenger
    pooled = _pooled(feedback)
    variance = pooled * (1 - pooled) * sum(1 / np.maximum(arm.n, 1) for arm in arms)
    critical = NormalDist().inv_cdf(1 - alpha / 2)
    gap = arms[1].rate - arms[0].rate
    return _first((gap * gap > critical**2 * variance) & (arms[0].n >= 30) & (arms[1].n >= 30))


def safe_test(rng: np.random.Generator, scenario: Scenario, *, tests: int, blocks: int, alpha: float) -> np.ndarray:
    """int [E]: answers until rejection, or -1, of the safe test for two proportions (Turner, Ly & Grünwald 2021).

    It wants blocks of fixed sizes: one answer of the challenger and as many of the champion as there are to one. The
    alternative of each block is learned from those before, with Beta(0.18, 0.18) priors, as the paper advises.
    """
    others = round(1 / scenario.share) - 1
    size = others + 1
    sizes, rates = (others, 1), (scenario.champion, scenario.challenger)
    correct = [rng.binomial(n, rate, (tests, blocks)).astype(float) for n, rate in zip(sizes, rates, strict=True)]
    before = np.arange(blocks)
    learned = [(c.cumsum(1) - c + 0.18) / (n * before + 0.36) for c, n in zip(correct, sizes, strict=True)]
    null = sum(n * rate for n, rate in zip(sizes, learned, strict=True)) / size
    log_e = np.zeros((tests, blocks))
    for c, n, rate in zip(correct, sizes, learned, strict=True):
        log_e += c * np.log(rate / null) + (n - c) * np.log((1 - rate) / (1 - null))
    first = _first(log_e.cumsum(1) >= -np.log(alpha))
    return np.where(first >= 0, (first + 1) * size, -1)


def fixed_horizon(scenario: Scenario, alpha: float, power: float) -> int:
    """Answers of both arms together that the z-test needs when it looks once, at the end."""
    critical, beyond = NormalDist().inv_cdf(1 - alpha / 2), NormalDist().inv_cdf(power)
    arms = (scenario.champion, 1 - scenario.share), (scenario.challenger, scenario.share)
    pooled = sum(rate * share for rate, share in arms)
    null = np.sqrt(pooled * (1 - pooled) * sum(1 / share for _, share in arms))
    alternative = np.sqrt(sum(rate * (1 - rate) / share for rate, share in arms))
    return int(np.ceil(((critical * null + beyond * alternative) / scenario.difference) ** 2))


def _first(rejected: np.ndarray) -> np.ndarray:
    """bool [E, L] -> int [E]."""
    return np.where(rejected.any(1), rejected.argmax(1), -1)


def _pooled(feedback: Streams) -> np.ndarray:
    champion, challenger = feedback.champion, feedback.challenger
    return Counts(champion.n + challenger.n, champion.correct + challenger.correct).rate


def _largest_log_ratio(feedback: Streams, null: Rates) -> np.ndarray:
    """float64 [E, L]: how much better the observed rates explain the counts than these do."""
    arms = feedback.champion, feedback.challenger
    return np.sum(
        [_log_likelihood(arm, arm.rate) - _log_likelihood(arm, rate) for arm, rate in zip(arms, null, strict=True)],
        axis=0,
    )


def _log_likelihood(counts: Counts, rate: np.ndarray | float) -> np.ndarray:
    wrong = counts.n - counts.correct
    return counts.correct * np.log(np.maximum(rate, _TINY)) + wrong * np.log(np.maximum(1 - rate, _TINY))
