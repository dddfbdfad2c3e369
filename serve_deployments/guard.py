"""Guardrails: whether a challenger does worse than it may."""

from __future__ import annotations

from app.traffic_file import Guardrails
from serve_deployments.assignment import Arm
from serve_deployments.metrics import Histogram, Tally

UNLUCKY = 5
"""Slow requests that say something about a version, not only about a moment of the machine."""
_FAILURES = ("error", "timeout", "overloaded")


def breach(window: Tally, challenger: str, champion: str | None, rules: Guardrails) -> str | None:
    """Which rule the challenger breaks in this window, with the numbers; None when it keeps them all.

    Requests whose clients left say nothing and do not count.
    """
    outcomes = {
        outcome: sum(window.counters.get(("manta_requests", (challenger, arm, outcome)), 0) for arm in Arm)
        for outcome in ("ok", *_FAILURES)
    }
    # While the breaker is open requests do not reach it at all, which is no sign of health.
    refused = window.counters.get(("manta_fallbacks", (challenger, "breaker open")), 0)
    failed = sum(outcomes[outcome] for outcome in _FAILURES) + refused
    requests = outcomes["ok"] + failed
    if requests < rules.min_requests:
        return None
    if failed / requests > rules.max_error_rate:
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
