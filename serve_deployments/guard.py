"""Guardrails: whether a challenger does worse than it may."""

from __future__ import annotations

import numpy as np

from app.e_process import Counts, rate_interval
from app.traffic_file import Guardrails
from serve_deployments.assignment import Arm
from serve_deployments.metrics import Histogram, Tally

UNLUCKY = 5
"""Slow requests that say something about a version, not only about a moment of the machine."""
CHANCE = 1e-4
"""That a version which keeps the limit on errors breaks it in a window: there are 1,440 of a minute in a day."""
_FAILURES = ("error", "timeout", "overloaded")


def breach(window: Tally, challenger: str, champion: str | None, rules: Guardrails) -> str | None:
    """Which rule the challenger breaks in this window, with the numbers; None when it keeps them all.

    Requests whose clients left say nothing and do not count.
    """
    requests, failed = _outcomes(window, challenger)
    if requests < rules.min_requests:
        return None
    least = _least_rate(requests, failed)
    if least > rules.max_error_rate and least > _rate(window, champion):
        return f"{failed / requests:.1%} of {requests:.0f} requests failed, more than {rules.max_error_rate:.1%}"
    latency = _latency(window, challenger)
    p99 = latency.quantile(0.99)
    if rules.max_p99_ms is not None and _is_slower(latency, rules.max_p99_ms / 1000):
        return f"p99 latency is {p99 * 1000:.0f} ms, more than {rules.max_p99_ms:g} ms"
    if rules.max_p99_ratio is not None and champion is not None:
        other = _latency(window, champion)
        other_p99 = other.quantile(0.99)
        if other.count >= rules.min_requests and _is_slower(latency, rules.max_p99_ratio * other_p99):
            return (
                f"p99 latency is {p99 * 1000:.0f} ms, more than {rules.max_p99_ratio:g} times the champion's "
                f"{other_p99 * 1000:.0f} ms"
            )
    return None


def _outcomes(window: Tally, version: str) -> tuple[float, float]:
    """Requests that say something of the version, and how many of them failed."""
    outcomes = {
        outcome: sum(window.counters.get(("manta_requests", (version, arm, outcome)), 0) for arm in Arm)
        for outcome in ("ok", *_FAILURES)
    }
    # While the breaker is open requests do not reach it at all, which is no sign of health.
    refused = window.counters.get(("manta_fallbacks", (version, "breaker open")), 0)
    failed = sum(outcomes[outcome] for outcome in _FAILURES) + refused
    return outcomes["ok"] + failed, failed


def _rate(window: Tally, version: str | None) -> float:
    """Of failures; 0 for none."""
    requests, failed = _outcomes(window, version) if version is not None else (0.0, 0.0)
    return failed / requests if requests else 0.0


def _least_rate(requests: float, failed: float) -> float:
    """The lowest rate of failures that this is no unlikely sample of."""
    if not failed:
        return 0.0
    low, _ = rate_interval(Counts(np.array([requests]), np.array([failed])), CHANCE)
    return float(low[0])


def _is_slower(latency: Histogram, limit_s: float) -> bool:
    """Whether the p99 is above the limit, and not for a few unlucky requests: of fifty, the p99 is the slowest one."""
    return latency.quantile(0.99) > limit_s and latency.above(limit_s) >= UNLUCKY


def _latency(window: Tally, version: str) -> Histogram:
    total: Histogram | None = None
    for arm in (Arm.CHAMPION, Arm.CHALLENGER):
        found = window.histograms.get(("manta_request_seconds", (version, arm)))
        if found is not None:
            total = total or Histogram(found.bounds)
            total.add(found)
    return total or Histogram((1.0,))
