"""How many replicas the load needs: what each replica tells Ray Serve of its demand, and the policy that sums it up.

A demand of 1 is the work of one replica that never rests. What Serve counts by itself, calls in flight, does not tell
it: a router has as many requests in it when a classifier is slow as when it is busy itself, and it never has more than
two batches in flight to a replica, whatever waits.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

DEMAND = "demand"
CATCH_UP_S = 1.0
"""What waits in the routers should be done within so many seconds."""
CALL_CPU_S = 0.0009
"""CPU time of a router that each call to a classifier takes (docs/PERFORMANCE.md, "Load and latency")."""


def by_demand(context: Any) -> tuple[float, dict[str, Any]]:
    """Ray Serve's autoscaling policy: `target_ongoing_requests` is the demand that one replica should have.

    context: its AutoscalingContext. Bounds and delays are applied by Serve. Without a report all stays as it is.
    """
    demands = (context.aggregated_metrics or {}).get(DEMAND)
    if not demands:
        return context.target_num_replicas, {}
    return sum(demands.values()) / context.config.target_ongoing_requests, {}


class Rate:
    """How fast a number grows that only ever grows."""

    def __init__(self, number: Callable[[], float], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._number = number
        self._clock = clock
        self._read_at, self._was = clock(), number()

    def read(self) -> float:
        """A second, since the reading before."""
        now, number = self._clock(), self._number()
        rate = (number - self._was) / max(now - self._read_at, 1e-3)
        self._read_at, self._was = now, number
        return rate


class RouterDemand:
    """Of a router: the CPU time that it takes of each second, less what its calls take more than full ones would.

    A call to a classifier costs the same whatever is in it, and batches grow with the load: a router that is never idle
    with small ones still takes several times their load, though each waits longer then.
    """

    def __init__(
        self,
        *,
        calls: Callable[[], float],
        images: Callable[[], float],
        max_batch: int,
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.process_time,
    ) -> None:
        """calls and images: how many were answered so far. max_batch: images in one call, at most."""
        self._computing = Rate(cpu, clock=clock)
        self._calls = Rate(calls, clock=clock)
        self._images = Rate(images, clock=clock)
        self._max_batch = max_batch

    def read(self) -> float:
        """Since the reading before."""
        spared = self._calls.read() - self._images.read() / self._max_batch
        return max(self._computing.read() - max(spared, 0.0) * CALL_CPU_S, 0.0)


class CallDemand:
    """Of a replica that is sent calls: the share of the time that it worked, and what waits for it elsewhere.

    It works while a call is in it, which may wait for something else than this process, and while it computes, which it
    does for a call before and after as well.
    """

    def __init__(
        self,
        *,
        threads: int = 1,
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.process_time,
    ) -> None:
        """threads: with which it computes."""
        self._threads = threads
        self._clock = clock
        self._computing = Rate(cpu, clock=clock)
        self._read_at = self._since = clock()
        self._calls = 0
        """That are in it now, ever since `_since` there was one, or since it was read."""
        self._busy_s = 0.0
        self._images = 0
        self._seconds_per_image = 0.0
        self._newest_waiting = self._sum_of_waiting = 0.0
        self._calls_told = 0

    @contextlib.contextmanager
    def call(self, images: int, waiting: float) -> Iterator[None]:
        """A call is in the replica while the block runs. waiting: images that wait for the replica where it is from."""
        self._newest_waiting = waiting
        self._sum_of_waiting += waiting
        self._calls_told += 1
        if not self._calls:
            self._since = self._clock()
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1
            self._images += images
            if not self._calls:
                self._busy_s += self._clock() - self._since

    def read(self) -> float:
        """Since the reading before."""
        now = self._clock()
        seconds = max(now - self._read_at, 1e-3)
        if self._calls:
            self._busy_s += now - self._since
            self._since = now
        share = max(self._busy_s / seconds, self._computing.read() / self._threads)
        if self._images:
            self._seconds_per_image = share * seconds / self._images
        # A long call tells as long as it lasts what waited when it came.
        silent = self._newest_waiting if self._calls else 0.0
        waits = self._sum_of_waiting / self._calls_told if self._calls_told else silent
        self._read_at, self._busy_s, self._images = now, 0.0, 0
        self._sum_of_waiting, self._calls_told = 0.0, 0
        return share + waits * self._seconds_per_image / CATCH_UP_S
