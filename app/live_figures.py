"""How a service's versions do right now: what its /metrics counted between two looks."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from app.errors import ClusterError

_FAILED = frozenset({"error", "timeout", "overloaded"})
_GONE = "cancelled"
"""The client left: that says nothing about the version."""


@dataclass(frozen=True, slots=True)
class Look:
    """One version's totals at one moment."""

    requests: float = 0.0
    failed: float = 0.0
    seconds: Mapping[float, float] = field(default_factory=dict)
    """Answers within so many seconds, by upper bound; cumulative, as Prometheus has it."""
    waiting: float = 0.0
    """Images."""
    replicas: float = 0.0


@dataclass(frozen=True, slots=True)
class Totals:
    """All of a service at one moment."""

    versions: Mapping[str, Look]
    drifting: tuple[str, ...] = ()
    """Measures of the champion's traffic."""
    drift_images: int | None = None
    """What was looked at for drift; None where nothing is compared."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One version in the time between two looks. None where there is nothing to measure."""

    requests_per_s: float
    failed: float | None
    """Share of the requests, 0 to 1."""
    p50_ms: float | None
    p99_ms: float | None
    """Interpolated within the histogram's buckets."""
    waiting: int
    """Images, at the second look."""
    replicas: int


def read(metrics: str) -> Totals:
    """From Prometheus text. Raises ClusterError for what is none."""
    from prometheus_client.parser import text_string_to_metric_families  # late: every command imports this module

    requests: defaultdict[str, float] = defaultdict(float)
    failed: defaultdict[str, float] = defaultdict(float)
    seconds: defaultdict[str, defaultdict[float, float]] = defaultdict(lambda: defaultdict(float))
    waiting: dict[str, float] = {}
    replicas: dict[str, float] = {}
    drifting: list[str] = []
    drift_images: int | None = None
    try:
        samples = [sample for family in text_string_to_metric_families(metrics) for sample in family.samples]
    except ValueError as error:
        raise ClusterError(f"GET /metrics is no Prometheus text: {error}") from error
    for sample in samples:
        version = sample.labels.get("version", "")
        if sample.name == "manta_requests_total" and sample.labels["outcome"] != _GONE:
            requests[version] += sample.value
            failed[version] += sample.value if sample.labels["outcome"] in _FAILED else 0.0
        elif sample.name == "manta_request_seconds_bucket":
            seconds[version][float(sample.labels["le"])] += sample.value
        elif sample.name == "manta_images_waiting":
            waiting[version] = sample.value
        elif sample.name == "manta_classifier_replicas":
            replicas[version] = sample.value
        elif sample.name == "manta_drifted" and sample.value:
            drifting.append(sample.labels["measure"])
        elif sample.name == "manta_drift_images":
            drift_images = round(sample.value)
    versions = {
        version: Look(
            requests[version],
            failed[version],
            dict(seconds[version]),
            waiting.get(version, 0.0),
            replicas.get(version, 0.0),
        )
        for version in {*requests, *seconds, *waiting, *replicas}
    }
    return Totals(versions, tuple(drifting), drift_images)


def between(before: Look, after: Look, elapsed_s: float) -> Figures:
    """Where a count has fallen, because what counts began anew, it counts from there."""
    requests = _grown(before.requests, after.requests)
    failed = _grown(before.failed, after.failed)
    seconds = {bound: _grown(before.seconds.get(bound, 0.0), count) for bound, count in after.seconds.items()}
    return Figures(
        requests_per_s=requests / elapsed_s,
        failed=failed / requests if requests else None,
        p50_ms=_quantile_ms(seconds, 0.5),
        p99_ms=_quantile_ms(seconds, 0.99),
        waiting=round(after.waiting),
        replicas=round(after.replicas),
    )


def _grown(before: float, after: float) -> float:
    return after - before if after >= before else after


def _quantile_ms(cumulative: Mapping[float, float], share: float) -> float | None:
    """As Prometheus's `histogram_quantile` has it; the last finite bound for what lies above all."""
    bounds = sorted(cumulative)
    total = cumulative[bounds[-1]] if bounds else 0.0
    if not total:
        return None
    wanted, low, reached = share * total, 0.0, 0.0
    for bound in bounds:
        count = cumulative[bound]
        if count >= wanted:
            if math.isinf(bound):
                break
            inside = (wanted - reached) / (count - reached) if count > reached else 1.0
            return 1000 * (low + (bound - low) * inside)
        low, reached = bound, count
    return 1000 * low
