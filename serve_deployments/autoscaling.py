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


def by_demand(context: Any) -> tuple[float, dict[str, Any]]:
    """Ray Serve's autoscaling policy: `target_ongoing_requests` is the demand that one replica should have.

    context: its AutoscalingContext. Bounds and delays are applied by Serve. Without a report all stays as it is.
    """
    demands = (context.aggregated_metrics or {}).get(DEMAND)
    if not demands:
        return context.target_num_replicas, {}
    return sum(demands.values()) / context.config.target_ongoing_requests, {}


class CpuDemand:
    """Of a replica that is busy exactly when it computes: the CPU time that it took of each second."""

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, cpu: Callable[[], float] = time.process_time
    ) -> None:
        self._clock = clock
        self._cpu = cpu
        self._read_at, self._cpu_at = clock(), cpu()

    def read(self) -> float:
        """Since the reading before."""
        now, cpu = self._clock(), self._cpu()
        share = (cpu - self._cpu_at) / max(now - self._read_at, 1e-3)
        self._read_at, self._cpu_at = now, cpu
        return share


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
        self._computing = CpuDemand(clock=clock, cpu=cpu)
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
