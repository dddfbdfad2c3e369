"""What a batcher did since it was made: counts and nanoseconds, added up and never reset.

A reader that looks twice gets rates and means of the time between, so nothing has to be averaged here.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class Duration:
    """How often something happened, and how long it took all together."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int, count: int = 1) -> None:
        """`count` times, `ns` nanoseconds in all."""
        self.count += count
        self.ns += ns


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
    """When the last batch was sent, in milliseconds since 1970; 0 before the first."""

    @property
    def batches_in_all(self) -> int:
        return sum(each.count for each in self.batches.values())

    def sent(self) -> None:
        """A batch leaves now."""
        self.last_ms = time.time_ns() // 1_000_000

    def answered(self, *, entries: int, items: int, ns: int) -> None:
        """A batch came back after `ns` nanoseconds."""
        self.items += items
        self.infer.add(ns * entries, entries)
        self.batches.setdefault(items, Duration()).add(ns)
