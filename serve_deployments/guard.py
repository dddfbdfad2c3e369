"""Guardrails: whether a challenger does worse than it may."""

from __future__ import annotations

from app.traffic_file import Guardrails
from serve_deployments.assignment import Arm
from serve_deployments.metrics import Histogram, Tally

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
    p99 = _latency(window, challenger).quantile(0.99)
    if rules.max_p99_ms is not None and p99 * 1000 > rules.max_p99_ms:
        return f"p99 latency is {p99 * 1000:.0f} ms, more than {rules.max_p99_ms:g} ms"
    if rules.max_p99_ratio is not None and champion is not None:
        other = _latency(window, champion)
        if other.count >= rules.min_requests and p99 > rules.max_p99_ratio * other.quantile(0.99):
            return (
                f"p99 latency is {p99 * 1000:.0f} ms, more than {rules.max_p99_ratio:g} times the champion's "
                f"{other.quantile(0.99) * 1000:.0f} ms"
            )
    return None


def _latency(window: Tally, version: str) -> Histogram:
    total: Histogram | None = None
    for arm in (Arm.CHAMPION, Arm.CHALLENGER):
        found = window.histograms.get(("manta_request_seconds", (version, arm)))
        if found is not None:
            total = total or Histogram(found.bounds)
            total.add(found)
    return total or Histogram((1.0,))
