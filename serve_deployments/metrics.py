"""What the service counts, and how it is shown to Prometheus.

Every router counts for itself, in plain numbers, and tells `control` once a second. `control` adds up what all of them
have, those that are gone too, so any router's `GET /metrics` speaks for the whole service.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

CONTENT_TYPE = CONTENT_TYPE_LATEST

SECONDS = (0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
IMAGES = (1, 2, 4, 8, 16, 32, 64)


class Described(NamedTuple):
    help: str
    labels: tuple[str, ...] = ()


COUNTERS = {
    "manta_http_requests": Described("Requests by route and HTTP status.", ("route", "status")),
    "manta_requests": Described(
        "Requests that a version was asked for: ok, error, timeout, overloaded, cancelled.",
        ("version", "arm", "outcome"),
    ),
    "manta_images": Described("Images answered.", ("version", "arm")),
    "manta_bad_images": Described("Images that could not be decoded."),
    "manta_fallbacks": Described(
        "Requests that the champion answered in place of another version.", ("version", "reason")
    ),
    "manta_breaker_opened": Described("Times that a failing version was taken out for a while.", ("version",)),
    "manta_shadow": Described(
        "Copied requests by what came of them: agree, disagree, error, dropped.", ("version", "outcome")
    ),
    "manta_cache": Described("Images looked up in the result cache: hit or miss.", ("outcome",)),
    "manta_cascade": Described("Images that the fast version answered, or had to ask the accurate one about.", ("by",)),
}
HISTOGRAMS = {
    "manta_request_seconds": (Described("From the whole request to its answer.", ("version", "arm")), SECONDS),
    "manta_stage_seconds": (
        Described("Decoding; waiting for a place; the call to the classifier.", ("version", "stage")),
        SECONDS,
    ),
    "manta_batch_images": (Described("Images in one call to a classifier.", ("version",)), IMAGES),
}
GAUGES = {
    "manta_images_waiting": Described("Images that wait for a place.", ("version",)),
    "manta_images_in_flight": Described("Images that were sent to a classifier.", ("version",)),
    "manta_breaker_open": Described("Routers that send a failing version no traffic.", ("version",)),
    "manta_cache_entries": Described("Entries of the result caches."),
    "manta_drift_images": Described("Images that were looked at for drift.", ("version",)),
    "manta_drift_psi": Described(
        "Population stability index of a measure of the champion's traffic.", ("version", "measure")
    ),
    "manta_drifted": Described(
        "1 where a measure of the champion's traffic is not what it was on held-out images.", ("version", "measure")
    ),
    "manta_router_resident_memory_bytes": Described("Resident memory of all routers."),
    "manta_routers": Described("Routers that reported lately."),
    "manta_classifier_replicas": Described("Running replicas of a version.", ("version",)),
    "manta_uptime_seconds": Described("Since the service's control started."),
    "manta_version_weight": Described("Share of the traffic, in percent.", ("version", "role")),
}

Labels = tuple[str, ...]


@dataclass(slots=True)
class Histogram:
    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    """By bucket, and one for what is above the last bound; not cumulative."""
    total: float = 0.0

    def __post_init__(self) -> None:
        if not self.counts:
            self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def add(self, other: Histogram) -> None:
        self.counts = [mine + its for mine, its in zip(self.counts, other.counts, strict=True)]
        self.total += other.total

    def since(self, earlier: Histogram | None) -> Histogram:
        """What came after `earlier` was taken."""
        if earlier is None:
            return Histogram(self.bounds, list(self.counts), self.total)
        counts = [now - before for now, before in zip(self.counts, earlier.counts, strict=True)]
        return Histogram(self.bounds, counts, self.total - earlier.total)

    @property
    def count(self) -> int:
        return sum(self.counts)

    def above(self, value: float) -> int:
        """How many lie in buckets that end above the value: all that exceed it, and some that may not."""
        return sum(self.counts[bisect_right(self.bounds, value) :])

    def quantile(self, share: float) -> float:
        """An upper bound: the end of the bucket in which that share of the values is reached; inf above all bounds."""
        wanted, reached = share * self.count, 0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            reached += count
            if reached >= wanted and reached:
                return bound
        return float("inf") if self.count else 0.0


@dataclass(slots=True)
class Tally:
    """Counters and histograms by name and label values. Plain data: it is pickled, added and subtracted."""

    counters: dict[tuple[str, Labels], float] = field(default_factory=dict)
    histograms: dict[tuple[str, Labels], Histogram] = field(default_factory=dict)

    def count(self, name: str, labels: Labels = (), by: float = 1) -> None:
        key = (name, labels)
        self.counters[key] = self.counters.get(key, 0) + by

    def observe(self, name: str, labels: Labels, value: float) -> None:
        key = (name, labels)
        histogram = self.histograms.get(key)
        if histogram is None:
            histogram = self.histograms[key] = Histogram(HISTOGRAMS[name][1])
        histogram.observe(value)

    def whole(self, name: str) -> Histogram:
        """The histogram of that name over all its label values."""
        total = Histogram(HISTOGRAMS[name][1])
        for (each, _), histogram in self.histograms.items():
            if each == name:
                total.add(histogram)
        return total

    def add(self, other: Tally) -> None:
        for (name, labels), value in other.counters.items():
            self.count(name, labels, value)
        for key, histogram in other.histograms.items():
            if key in self.histograms:
                self.histograms[key].add(histogram)
            else:
                self.histograms[key] = histogram.since(None)

    def since(self, earlier: Tally) -> Tally:
        """What was counted after `earlier`."""
        return Tally(
            {key: value - earlier.counters.get(key, 0) for key, value in self.counters.items()},
            {key: each.since(earlier.histograms.get(key)) for key, each in self.histograms.items()},
        )

    def copy(self) -> Tally:
        return self.since(Tally())


Gauges = dict[tuple[str, Labels], float]


class _Families:
    """A collector of one moment."""

    def __init__(self, tally: Tally, gauges: Gauges) -> None:
        self._tally = tally
        self._gauges = gauges

    def collect(self) -> Iterable[Metric]:
        for name, described in COUNTERS.items():
            counter = CounterMetricFamily(name, described.help, labels=described.labels)
            for (each, labels), value in self._tally.counters.items():
                if each == name:
                    counter.add_metric(labels, value)
            yield counter
        for name, described in GAUGES.items():
            gauge = GaugeMetricFamily(name, described.help, labels=described.labels)
            for (each, labels), value in self._gauges.items():
                if each == name:
                    gauge.add_metric(labels, value)
            yield gauge
        for name, (described, _) in HISTOGRAMS.items():
            histogram = HistogramMetricFamily(name, described.help, labels=described.labels)
            for (each, labels), values in self._tally.histograms.items():
                if each == name:
                    histogram.add_metric(labels, _cumulative(values), values.total)
            yield histogram


def render(tally: Tally, gauges: Gauges) -> bytes:
    """Prometheus text."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(tally, gauges))
    return generate_latest(registry)


def _cumulative(histogram: Histogram) -> list[tuple[str, float]]:
    reached, buckets = 0, []
    for bound, count in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
        reached += count
        buckets.append(("+Inf" if bound == float("inf") else repr(float(bound)), float(reached)))
    return buckets
