"""What a batcher did since it was made: counts and nanoseconds, added up and never reset.

A reader that looks twice gets rates and means of the time between, so nothing has to be averaged here.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SentBatch:
    """One send, after it ended."""

    items: int
    waited_s: Sequence[float]
    """Of each entry in it, until it was sent. The first waited longest."""
    took_s: float
    answered: bool


@dataclass(slots=True)
class Duration:
    """How often something happened, and how long it took all together."""

    count: int = 0
    ns: int = 0

    def add(self, seconds: float, count: int = 1) -> None:
        """`count` times, `seconds` in all."""
        self.count += count
        self.ns += round(seconds * 1e9)

    def include(self, other: Duration) -> None:
        self.count += other.count
        self.ns += other.ns


@dataclass(slots=True)
class BatchStatistics:
    success: Duration = field(default_factory=Duration)
    """Calls of `submit` that got their results; from the call to the results."""
    fail: Duration = field(default_factory=Duration)
    """Calls that were refused, failed, came too late, or whose caller left."""
    queue: Duration = field(default_factory=Duration)
    """Entries that got a place, and how long they waited for it."""
    infer: Duration = field(default_factory=Duration)
    """Entries that were answered, each with the whole time of the batch that it was in."""
    batches: dict[int, Duration] = field(default_factory=dict)
    """Batches that were answered, by their number of items."""
    items: int = 0
    """Items that were answered."""
    last_ms: int = 0
    """When the batch that ended last was sent, in milliseconds since 1970; 0 before the first."""

    @property
    def batches_in_all(self) -> int:
        return sum(each.count for each in self.batches.values())

    def add(self, batch: SentBatch) -> None:
        entries = len(batch.waited_s)
        self.last_ms = round((time.time() - batch.took_s) * 1000)
        self.queue.add(sum(batch.waited_s), entries)
        if batch.answered:
            self.items += batch.items
            self.infer.add(batch.took_s * entries, entries)
            self.batches.setdefault(batch.items, Duration()).add(batch.took_s)

    def include(self, other: BatchStatistics) -> None:
        """Adds what another batcher did."""
        for name in ("success", "fail", "queue", "infer"):
            getattr(self, name).include(getattr(other, name))
        for size, duration in other.batches.items():
            self.batches.setdefault(size, Duration()).include(duration)
        self.items += other.items
        self.last_ms = max(self.last_ms, other.last_ms)


def summed(parts: Iterable[Mapping[str, BatchStatistics]]) -> dict[str, BatchStatistics]:
    """By name, copied: what is counted later does not change it."""
    total: dict[str, BatchStatistics] = {}
    for part in parts:
        for name, statistics in part.items():
            total.setdefault(name, BatchStatistics()).include(statistics)
    return total
