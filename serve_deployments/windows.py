"""What routers counted lately: sliding windows over their totals."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from serve_deployments.batch_statistics import BatchStatistics, summed
from serve_deployments.metrics import Gauges, Tally
from serve_deployments.report import INTERVAL_S, Report

GONE_AFTER_S = 15.0
"""Seconds without a report after which a router counts as gone: its counts are kept, its gauges are not."""
LATELY_S = 3 * INTERVAL_S


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


class Windows:
    """All routers', by their ids."""

    def __init__(
        self, retired: Tally, retired_statistics: Mapping[str, BatchStatistics] | None = None, *, keep_s: float
    ) -> None:
        """retired: the counts of routers that were gone before; and what their batchers did, by version."""
        self.retired = retired
        self.retired_statistics = dict(retired_statistics or {})
        self._keep_s = keep_s
        self._routers: dict[str, RouterWindow] = {}

    def add(self, report: Report, now: float) -> None:
        known = self._routers.get(report.router)
        if known is None:
            self._routers[report.router] = RouterWindow(report, now)
        else:
            known.update(report, now, self._keep_s)

    def retire(self, now: float) -> bool:
        """Moves the counts of routers that are gone to `retired`; whether there were any."""
        gone = [name for name, window in self._routers.items() if window.seen_at < now - GONE_AFTER_S]
        for name in gone:
            report = self._routers.pop(name).newest
            self.retired.add(report.tally)
            self.retired_statistics = summed([self.retired_statistics, report.statistics])
        return bool(gone)

    @property
    def reports(self) -> list[Report]:
        """The newest of each router."""
        return [window.newest for window in self._routers.values()]

    def lately(self, now: float) -> list[Report]:
        """The newest of each router that surely runs: one that was replaced has not reported for some intervals."""
        return [window.newest for window in self._routers.values() if window.seen_at >= now - LATELY_S]

    def total(self) -> Tally:
        """Everything that was ever counted."""
        return _sum([self.retired, *(report.tally for report in self.reports)])

    def statistics(self) -> dict[str, BatchStatistics]:
        """What the batchers of all routers did, by version."""
        return summed([self.retired_statistics, *(report.statistics for report in self.reports)])

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


def _sum(tallies: Iterable[Tally]) -> Tally:
    total = Tally()
    for tally in tallies:
        total.add(tally)
    return total
