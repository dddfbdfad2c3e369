"""Batching without a timer: whatever waits when nothing is in flight is the next batch.

A lone entry is sent at once, and under load batches grow by themselves, because entries queue up while others are in
flight. A place is one batch in flight; the caller sets how many there are. A further place is taken once a full share
of all outstanding items waits for it: sooner, batches would become small, and each costs the same to send.

    submit --> queue --> [place] --> send(items) --> results --> each caller gets its own slice

No HTTP, no model and no Ray in here. A batcher owns no background task: there is nothing to stop.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from app.errors import ClusterError, Overloaded
from serve_deployments.batch_statistics import BatchStatistics, SentBatch

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    max_batch: int = 32
    """Items in one send, at most."""
    max_queued: int = 1024
    """Items that may wait; one more is refused with Overloaded."""
    timeout_s: float = 10.0
    """Seconds an entry may wait for a place, and seconds one send may take."""

    def __post_init__(self) -> None:
        if self.max_batch < 1 or self.max_queued < 1 or self.timeout_s <= 0:
            raise ValueError(f"batch limits must be positive: {self}")


@dataclass(slots=True, eq=False)
class _Entry(Generic[Item, Result]):
    """What one caller handed in at once; it is never split, so its results stay together."""

    items: Sequence[Item]
    answer: asyncio.Future[list[Result]]
    arrived: float
    """On the loop's clock, like `deadline`."""
    deadline: float
    sent: bool = field(default=False)


class Batcher(Generic[Item, Result]):
    """Merges the items of many callers into calls of `send`.

    `send` gets a list of items and returns as many results, in the same order.
    """

    def __init__(
        self,
        send: Callable[[list[Item]], Awaitable[Sequence[Result]]],
        *,
        places: int,
        limits: BatchLimits,
        on_batch: Callable[[SentBatch], None] = lambda _batch: None,
    ) -> None:
        """on_batch is told of each send, after `statistics` have it."""
        self._send = send
        self._on_batch = on_batch
        self._places = places
        self._limits = limits
        self._entries: deque[_Entry[Item, Result]] = deque()
        self._queued = 0
        self._in_flight = 0
        self._batches: set[asyncio.Task[None]] = set()
        self._pump_scheduled = False
        self._reaper: asyncio.TimerHandle | None = None
        self.statistics = BatchStatistics()

    @property
    def queued(self) -> int:
        """Items that wait for a place."""
        return self._queued

    @property
    def in_flight(self) -> int:
        """Items that were sent and not answered yet."""
        return self._in_flight

    @property
    def batches_in_flight(self) -> int:
        return len(self._batches)

    def set_places(self, places: int) -> None:
        """Batches that may be in flight at once. Fewer than now are reached as batches finish; 0 holds all back."""
        if places != self._places:
            self._places = places
            self._schedule_pump()

    async def submit(self, items: Sequence[Item]) -> list[Result]:
        """Returns one result per item, in order.

        Raises Overloaded when the queue is full, TimeoutError, or what `send` raised for this batch.
        """
        if not items:
            return []
        started, outcome = time.perf_counter(), self.statistics.fail
        try:
            results = await self._submit(items)
            outcome = self.statistics.success
        finally:
            outcome.add(time.perf_counter() - started)
        return results

    async def _submit(self, items: Sequence[Item]) -> list[Result]:
        size = self._limits.max_batch
        if len(items) <= size:
            return await self._submit_entry(items)
        self.check_room(len(items))  # all or nothing: no half of a request is worth doing
        parts = await asyncio.gather(
            *(self._submit_entry(items[start : start + size]) for start in range(0, len(items), size))
        )
        return [result for part in parts for result in part]

    def check_room(self, items: int) -> None:
        """Raises Overloaded when the queue has no room for that many items, so that nobody prepares them in vain."""
        if self._queued + items > self._limits.max_queued:
            raise Overloaded(f"{self._queued} images are waiting already, try again later")

    async def _submit_entry(self, items: Sequence[Item]) -> list[Result]:
        self.check_room(len(items))
        loop = asyncio.get_running_loop()
        now = loop.time()
        entry: _Entry[Item, Result] = _Entry(items, loop.create_future(), now, now + self._limits.timeout_s)
        self._entries.append(entry)
        self._queued += len(items)
        self._schedule_pump()
        try:
            return await entry.answer
        finally:
            if not entry.sent:  # the caller left, or waited too long: its images need no memory any more
                self._queued -= len(items)
                entry.items = ()
            del entry  # its answer may be an error, whose traceback holds this frame

    def _schedule_pump(self) -> None:
        """Takes a batch after the callbacks that are ready now, so that requests which arrived together go together.

        The fresh context matters: Ray ties a remote call to the request in whose context it was made.
        """
        if not self._pump_scheduled:
            self._pump_scheduled = True
            asyncio.get_running_loop().call_soon(self._pump, context=contextvars.Context())

    def _pump(self) -> None:
        self._pump_scheduled = False
        while len(self._batches) < self._places and self._is_worth_a_place() and (batch := self._take()):
            task = asyncio.get_running_loop().create_task(self._run(batch), context=contextvars.Context())
            self._batches.add(task)
            task.add_done_callback(self._finished)
        if self._entries and self._reaper is None:
            self._reaper = asyncio.get_running_loop().call_at(self._entries[0].deadline, self._expire)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._batches.discard(task)
        self._pump()

    def _is_worth_a_place(self) -> bool:
        return not self._batches or self._queued >= self._largest_batch()

    def _largest_batch(self) -> int:
        """A place's share of all outstanding items.

        Without that, a first place would take everything while the others stand idle, and their replicas with them.
        """
        share = -(-(self._queued + self._in_flight) // self._places)
        return min(self._limits.max_batch, share)

    def _take(self) -> list[_Entry[Item, Result]]:
        """Whole entries from the head of the queue, at least one when any caller is still there."""
        limit = self._largest_batch()
        batch: list[_Entry[Item, Result]] = []
        taken = 0
        while self._entries:
            entry = self._entries[0]
            if entry.answer.done():
                self._entries.popleft()
                continue
            if batch and taken + len(entry.items) > limit:
                break
            self._entries.popleft()
            entry.sent = True
            taken += len(entry.items)
            batch.append(entry)
        self._queued -= taken
        self._in_flight += taken
        return batch

    async def _run(self, batch: list[_Entry[Item, Result]]) -> None:
        items = [item for entry in batch for item in entry.items]
        started, answered = asyncio.get_running_loop().time(), False
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                results = await self._results(items)
        except TimeoutError:
            _fail(batch, TimeoutError(f"no answer within {self._limits.timeout_s:g} s"))
        except asyncio.CancelledError:
            # Not the callers were cancelled, but the call: they must not look as if their clients had left.
            _fail(batch, ClusterError("the batch was cancelled"))
        except Exception as error:
            _fail(batch, error)
        else:
            answered = True
            _answer(batch, results)
        finally:
            self._in_flight -= len(items)
            took = asyncio.get_running_loop().time() - started
            sent = SentBatch(len(items), [started - entry.arrived for entry in batch], took, answered)
            batch.clear()  # the answers in it may be an error, whose traceback holds this frame
            self.statistics.add(sent)
            self._on_batch(sent)

    async def _results(self, items: list[Item]) -> Sequence[Result]:
        results = await self._send(items)
        if len(results) != len(items):
            raise ClusterError(f"a batch of {len(items)} came back with {len(results)} results")
        return results

    def _expire(self) -> None:
        """Ends entries that waited too long. One timer for the whole queue: it is in order of arrival."""
        self._reaper = None
        now = asyncio.get_running_loop().time()
        while self._entries and (self._entries[0].answer.done() or self._entries[0].deadline <= now):
            _fail([self._entries.popleft()], TimeoutError(f"no place was free within {self._limits.timeout_s:g} s"))
        if self._entries:
            self._reaper = asyncio.get_running_loop().call_at(self._entries[0].deadline, self._expire)


def _answer(batch: list[_Entry[Item, Result]], results: Sequence[Result]) -> None:
    start = 0
    for entry in batch:
        end = start + len(entry.items)
        if not entry.answer.done():
            entry.answer.set_result(list(results[start:end]))
        start = end


def _fail(batch: list[_Entry[Item, Result]], error: Exception) -> None:
    for entry in batch:
        if not entry.answer.done():
            entry.answer.set_exception(error)
