"""What a batcher counts is what happened."""

from __future__ import annotations

import asyncio
import time

import pytest

from app.errors import ClusterError, Overloaded
from serve_deployments.batch_statistics import SentBatch
from serve_deployments.batcher import Batcher, BatchLimits
from tests.waiting import until


class Model:
    """Answers when it may; `failure` is raised instead when set."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.failure: Exception | None = None

    async def send(self, items: list[int]) -> list[int]:
        await self.may_answer.wait()
        if self.failure is not None:
            raise self.failure
        return items


def batcher(model: Model, **limits: float) -> Batcher[int, int]:
    return Batcher(model.send, places=1, limits=BatchLimits(**{"max_batch": 4, "max_queued": 6, **limits}))  # type: ignore[arg-type]


async def test_answered_calls_and_batches() -> None:
    model = Model()
    batches = batcher(model)
    statistics = batches.statistics
    assert (statistics.last_ms, statistics.batches_in_all, statistics.items) == (0, 0, 0)
    first = asyncio.create_task(batches.submit([1, 2, 3]))
    await until(lambda: batches.in_flight == 3)
    others = [asyncio.create_task(batches.submit([number])) for number in range(4)]
    await until(lambda: batches.queued == 4)
    await asyncio.sleep(0.02)
    model.may_answer.set()
    await asyncio.gather(first, *others)
    assert {size: duration.count for size, duration in statistics.batches.items()} == {3: 1, 4: 1}
    assert statistics.batches_in_all == 2
    assert statistics.items == 7
    assert (statistics.success.count, statistics.fail.count) == (5, 0)
    assert (statistics.queue.count, statistics.infer.count) == (5, 5)
    # The first call was sent at once and waited in the batch, the others waited for its place.
    assert statistics.batches[3].ns > 20_000_000
    assert statistics.queue.ns > 4 * 20_000_000
    assert statistics.success.ns > 5 * 20_000_000
    assert abs(statistics.last_ms - time.time() * 1000) < 60_000


async def test_nothing_is_not_counted() -> None:
    batches = batcher(Model())
    assert await batches.submit([]) == []
    assert batches.statistics.success.count == 0


@pytest.mark.parametrize("failure", [ClusterError("lost"), TimeoutError()])
async def test_failed_calls(failure: Exception) -> None:
    model = Model()
    model.failure = failure
    model.may_answer.set()
    batches = batcher(model)
    with pytest.raises(type(failure)):
        await batches.submit([1])
    assert (batches.statistics.fail.count, batches.statistics.success.count) == (1, 0)
    assert (batches.statistics.items, batches.statistics.batches) == (0, {})


async def test_refused_and_left_calls() -> None:
    model = Model()
    batches = batcher(model)
    with pytest.raises(Overloaded):
        await batches.submit([1] * 7)
    assert batches.statistics.fail.count == 1
    left = asyncio.create_task(batches.submit([1]))
    await until(lambda: batches.in_flight == 1)
    left.cancel()
    await asyncio.wait([left])
    assert batches.statistics.fail.count == 2
    model.may_answer.set()
    await until(lambda: batches.in_flight == 0)
    assert batches.statistics.items == 1  # it was computed, though nobody waits for it


async def test_a_call_in_several_batches_is_one_call() -> None:
    model = Model()
    model.may_answer.set()
    batches = batcher(model)
    await batches.submit([1, 2, 3, 4, 5, 6])
    assert batches.statistics.success.count == 1
    assert batches.statistics.queue.count == 2
    assert batches.statistics.items == 6


async def test_each_send_is_told_of_once_whether_or_not_it_was_answered() -> None:
    model, told = Model(), list[SentBatch]()
    batches = Batcher(model.send, places=1, limits=BatchLimits(max_batch=4), on_batch=told.append)
    calls = [asyncio.create_task(batches.submit([number])) for number in range(3)]
    await until(lambda: batches.in_flight == 3)
    await asyncio.sleep(0.02)
    model.may_answer.set()
    await asyncio.gather(*calls)
    model.failure = ClusterError("lost")
    with pytest.raises(ClusterError):
        await batches.submit([1, 2])
    await until(lambda: batches.batches_in_flight == 0)
    assert [(each.items, len(each.waited_s), each.answered) for each in told] == [(3, 3, True), (2, 1, False)]
    assert told[0].took_s > 0.02
    assert (batches.statistics.queue.count, batches.statistics.infer.count) == (4, 3)
