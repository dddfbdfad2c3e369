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
from collections.abc import Callable, Coroutine, Mapping, Sequence
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
    """At most, where what runs beside it ends it earlier."""
    pause_s: float = 0.0
    """Between an answer and the client's next request."""
    retry_after_s: float | None = None
    """A request that failed is sent once more, after so many seconds; None: it is not."""


@dataclass(slots=True)
class Seen:
    """Every request that was sent, each as it ended."""

    ended: list[float] = field(default_factory=list)
    """Seconds since the start, of each answer with status 200."""
    latencies: list[float] = field(default_factory=list)
    """Seconds, of the same answers."""
    errors: Counter[str] = field(default_factory=Counter)
    """All others, by kind."""
    failed_at: list[float] = field(default_factory=list)
    """Seconds since the start, of the same failures."""
    repeated: list[float] = field(default_factory=list)
    """Seconds from the first sending to the answer, of those that were sent once more and answered then."""
    lost: Counter[str] = field(default_factory=Counter)
    """Of those that were sent once more and failed again, by the second failure's kind."""
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

    beside: runs meanwhile on what was seen so far. The load ends when it returns; it is cancelled when the load ends.
    """
    cpu, started = time.process_time(), time.perf_counter()
    clients = _Clients(address, load, timeout_s, started)
    watcher = asyncio.create_task(beside(clients.seen)) if beside else None
    try:
        async with asyncio.TaskGroup() as group:
            if watcher is not None:
                watcher.add_done_callback(clients.stop)
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


class _Clients:
    def __init__(self, address: Address, load: Load, timeout_s: float, started: float) -> None:
        self._address = address
        self._load = load
        self._requests = itertools.cycle(load.requests)
        self._timeout_s = timeout_s
        self._started = started
        self._deadline = started + load.seconds
        self.seen = Seen()

    def stop(self, _watcher: asyncio.Task[None]) -> None:
        self._deadline = time.perf_counter()

    async def run_one(self) -> None:
        line = _Line(self._address, self._timeout_s)
        while (sent := time.perf_counter()) < self._deadline:
            request = next(self._requests)
            failure = await line.ask(request)
            ended = time.perf_counter()
            if failure is None:
                self.seen.ended.append(ended - self._started)
                self.seen.latencies.append(ended - sent)
            else:
                self.seen.errors[failure] += 1
                self.seen.failed_at.append(ended - self._started)
                await self._after_failure(line, request, failure, sent)
            if self._load.pause_s:
                await asyncio.sleep(self._load.pause_s)
        line.close()

    async def _after_failure(self, line: _Line, request: bytes, failure: str, sent: float) -> None:
        if self._load.retry_after_s is None:
            if failure in (REFUSED, UNREACHABLE):
                await asyncio.sleep(PAUSE_S)
            return
        await asyncio.sleep(self._load.retry_after_s)
        again = await line.ask(request)
        if again is None:
            self.seen.repeated.append(time.perf_counter() - sent)
        else:
            self.seen.lost[again] += 1


@dataclass(slots=True)
class _Line:
    """One client's connection, which is opened when it is needed."""

    address: Address
    timeout_s: float
    connection: HttpConnection | None = None

    async def ask(self, request: bytes) -> str | None:
        """None for an answer with status 200, else the kind of failure."""
        try:
            async with asyncio.timeout(self.timeout_s):
                if self.connection is None or not self.connection.usable:
                    self.close()
                    self.connection = await HttpConnection.open(self.address)
                status = await self.connection.send(request)
        except OSError as error:  # TimeoutError is one
            return _kind(error, connected=self.connection is not None)
        return None if status == 200 else f"HTTP {status}"

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
        self.connection = None


def _kind(error: OSError, *, connected: bool) -> str:
    if isinstance(error, TimeoutError):
        return TIMED_OUT
    if connected:
        return CLOSED
    return REFUSED if isinstance(error, ConnectionRefusedError) else UNREACHABLE
