"""Clients that send requests for some seconds, and what they saw.

It is a closed loop: each client sends its next request when the one before is answered, so a service that slows down is
asked less often. What a service does under a fixed rate of requests cannot be read off it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from app.http_connection import Address, HttpConnection

TIMEOUT_S = 10.0
PAUSE_S = 0.05
"""After a connection that could not be made: where nobody listens, nobody is asked thousands of times a second."""

REFUSED, UNREACHABLE, CLOSED, TIMED_OUT = "refused", "unreachable", "closed", "timed out"
"""Kinds of errors besides statuses, which are named as in `HTTP 503`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    requests: Sequence[bytes]
    """Whole requests, which the clients send in turns."""
    clients: int
    """Requests on the way at the same time."""
    seconds: float


@dataclass(slots=True)
class Seen:
    """Every request that was sent, each as it ended."""

    ended: list[float] = field(default_factory=list)
    """Seconds since the start, of each answer with status 200."""
    latencies: list[float] = field(default_factory=list)
    """Seconds, of the same answers."""
    errors: Counter[str] = field(default_factory=Counter)
    """All others, by kind."""
    seconds: float = 0.0
    """From the start to the last answer."""
    cpu_seconds: float = 0.0
    """That this process took meanwhile."""

    @property
    def answered(self) -> int:
        return len(self.latencies)

    @property
    def failed(self) -> int:
        return self.errors.total()

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answered / self.seconds if self.seconds else 0.0

    @property
    def busy(self) -> float:
        """Share of one core that this process took: near 1 it was the generator that set the pace."""
        return self.cpu_seconds / self.seconds if self.seconds else 0.0

    def latency_ms(self) -> Mapping[str, float]:
        """p50, p95, p99 and max; empty without an answer."""
        return latency_ms(self.latencies)


def latency_ms(seconds: Sequence[float]) -> dict[str, float]:
    if not seconds:
        return {}
    p50, p95, p99, most = np.percentile(1000 * np.asarray(seconds), (50, 95, 99, 100)).round(3).tolist()
    return {"p50": p50, "p95": p95, "p99": p99, "max": most}


async def send_load(
    address: Address,
    load: Load,
    *,
    timeout_s: float = TIMEOUT_S,
    beside: Callable[[Seen], Coroutine[Any, Any, None]] | None = None,
) -> Seen:
    """Sends for `load.seconds`; requests that are on the way then are waited for, and count.

    beside: runs meanwhile on what was seen so far, and is cancelled at the end.
    """
    cpu, started = time.process_time(), time.perf_counter()
    clients = _Clients(address, itertools.cycle(load.requests), timeout_s, started, started + load.seconds)
    watcher = asyncio.create_task(beside(clients.seen)) if beside else None
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(load.clients):
                group.create_task(clients.run_one())
    finally:
        if watcher is not None:
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher
    seen = clients.seen
    seen.seconds = time.perf_counter() - started
    seen.cpu_seconds = time.process_time() - cpu
    return seen


@dataclass(slots=True)
class _Clients:
    address: Address
    requests: Iterator[bytes]
    timeout_s: float
    started: float
    deadline: float
    seen: Seen = field(default_factory=Seen)

    async def run_one(self) -> None:
        connection: HttpConnection | None = None
        while (sent := time.perf_counter()) < self.deadline:
            try:
                async with asyncio.timeout(self.timeout_s):
                    if connection is None or not connection.usable:
                        if connection is not None:
                            connection.close()
                        connection = None
                        connection = await HttpConnection.open(self.address)
                    status = await connection.send(next(self.requests))
            except OSError as error:  # TimeoutError is one
                self.seen.errors[_kind(error, connected=connection is not None)] += 1
                if connection is None:
                    await asyncio.sleep(PAUSE_S)
                continue
            self._count(status, sent)
        if connection is not None:
            connection.close()

    def _count(self, status: int, sent: float) -> None:
        if status != 200:
            self.seen.errors[f"HTTP {status}"] += 1
            return
        ended = time.perf_counter()
        self.seen.ended.append(ended - self.started)
        self.seen.latencies.append(ended - sent)


def _kind(error: OSError, *, connected: bool) -> str:
    if isinstance(error, TimeoutError):
        return TIMED_OUT
    if connected:
        return CLOSED
    return REFUSED if isinstance(error, ConnectionRefusedError) else UNREACHABLE
