"""What routers counted lately: sliding windows over their totals."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from serve_deployments.batch_statistics import BatchStatistics, summed
from serve_deployments.metrics import Gauges, Tally
from serve_deployments.report import INTERVAL_S, Report

GONE_AFTER_S = 15.0
"""Seconds without a report after which a router counts as gone: its counts are kept, its gauges are not."""
LATELY_S = 3 * INTERVAL_S
KEPT_APART = 100
"""Routers that are gone and may be heard of again: a partition ends, `control` starts anew while they run."""


class RouterWindow:
    """The totals of one router, of the last seconds."""

    def __init__(self, report: Report, now: float) -> None:
        self.newest = report
        self.seen_at = now
        # A router that is new here has counted nothing before, as far as a window is concerned.
        self._history: deque[tuple[float, Tally]] = deque([(now, report.tally)])

    def update(self, report: Report, now: float, keep_s: float) -> None:
        self.newest, self.seen_at = report, now
        self._history.append((now, report.tally))
        while len(self._history) > 2 and self._history[1][0] <= now - keep_s:
            self._history.popleft()

    def last(self, seconds: float, now: float) -> Tally:
        """What was counted in that time, as far back as it is known."""
        earlier = self._history[0][1]
        for at, tally in self._history:
            if at > now - seconds:
                break
            earlier = tally
        return self.newest.tally.since(earlier)


class Totals(NamedTuple):
    """Everything that one router, or several, have counted."""

    tally: Tally
    statistics: dict[str, BatchStatistics]
    """What the batchers did, by version."""


@dataclass(frozen=True, slots=True)
class Counted:
    """All that was ever counted, as it is kept on disk."""

    routers: dict[str, Totals] = field(default_factory=dict)
    """By id, also of those that are gone: one that is heard of again has counted on, and replaces its former totals."""
    others: Totals = field(default_factory=lambda: Totals(Tally(), {}))
    """Of routers that are gone for good."""


class Windows:
    """All routers', by their ids."""

    def __init__(self, counted: Counted, *, keep_s: float) -> None:
        """counted: by routers that were heard of before."""
        self._others = counted.others
        self._gone = dict(counted.routers)
        self._keep_s = keep_s
        self._routers: dict[str, RouterWindow] = {}

    def add(self, report: Report, now: float) -> None:
        self._gone.pop(report.router, None)
        known = self._routers.get(report.router)
        if known is None:
            self._routers[report.router] = RouterWindow(report, now)
        else:
            known.update(report, now, self._keep_s)

    def retire(self, now: float) -> None:
        """From now on, routers without a report for long count for the totals alone."""
        for name, window in list(self._routers.items()):
            if window.seen_at < now - GONE_AFTER_S:
                del self._routers[name]
                self._gone[name] = _totals(window.newest)
        while len(self._gone) > KEPT_APART:
            self._others = _summed([self._others, self._gone.pop(next(iter(self._gone)))])

    def counted(self) -> Counted:
        live = {name: _totals(window.newest) for name, window in self._routers.items()}
        return Counted({**self._gone, **live}, self._others)

    @property
    def reports(self) -> list[Report]:
        """The newest of each router."""
        return [window.newest for window in self._routers.values()]

    def lately(self, now: float) -> list[Report]:
        """The newest of each router that surely runs: one that was replaced has not reported for some intervals."""
        return [window.newest for window in self._routers.values() if window.seen_at >= now - LATELY_S]

    def total(self) -> Tally:
        """Everything that was ever counted."""
        return _sum(each.tally for each in self._everything())

    def statistics(self) -> dict[str, BatchStatistics]:
        """What the batchers of all routers did, by version."""
        return summed([each.statistics for each in self._everything()])

    def _everything(self) -> list[Totals]:
        return [self._others, *self._gone.values(), *map(_totals, self.reports)]

    def last(self, seconds: float, now: float) -> Tally:
        return _sum(window.last(seconds, now) for window in self._routers.values())

    def gauges(self) -> Gauges:
        """Summed over routers; the number of replicas, which all see alike, is the largest."""
        gauges: Gauges = {("manta_routers", ()): float(len(self._routers))}
        for report in self.reports:
            for key, value in report.gauges.items():
                alike = key[0] == "manta_classifier_replicas"
                gauges[key] = max(gauges.get(key, 0.0), value) if alike else gauges.get(key, 0.0) + value
        return gauges


def _totals(report: Report) -> Totals:
    return Totals(report.tally, report.statistics)


def _summed(totals: Sequence[Totals]) -> Totals:
    return Totals(_sum(each.tally for each in totals), summed([each.statistics for each in totals]))


def _sum(tallies: Iterable[Tally]) -> Tally:
    total = Tally()
    for tally in tallies:
        total.add(tally)
    return total
