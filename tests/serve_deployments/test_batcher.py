"""The batcher alone: nobody gets another's row, whatever callers and calls do."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import random
from collections.abc import Awaitable, Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import ClusterError, Overloaded
from serve_deployments.batcher import Batcher, BatchLimits
from tests.waiting import until

Send = Callable[[list[int]], Awaitable[Sequence[str]]]


def answer(item: int) -> str:
    return f"row of {item}"


def batcher_for(send: Send, *, places: int = 1, **limits: float) -> Batcher[int, str]:
    return Batcher(send, places=places, limits=BatchLimits(**limits))  # type: ignore[arg-type]


async def some_turns() -> None:
    """Turns of the loop, not time: whatever is due without waiting happens."""
    for _ in range(5):
        await asyncio.sleep(0)


class Gate:
    """A send that notes its batches and answers each when it is opened."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.doors: list[asyncio.Future[None]] = []

    async def __call__(self, items: list[int]) -> list[str]:
        self.batches.append(items)
        self.doors.append(asyncio.get_running_loop().create_future())
        await self.doors[-1]
        return [answer(item) for item in items]

    async def wait_for(self, batches: int) -> None:
        await until(lambda: len(self.doors) >= batches)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    places=st.integers(1, 4),
    max_batch=st.integers(1, 9),
    callers=st.integers(1, 60),
)
def test_each_caller_gets_its_own_rows(seed: int, places: int, max_batch: int, callers: int) -> None:
    """Random sizes, cancels, failures, wrong lengths and changes of places."""
    chance = random.Random(seed)

    async def send(items: list[int]) -> list[str]:
        assert 1 <= len(items) <= max_batch
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
        match chance.randrange(8):
            case 0:
                raise ClusterError("the batch failed")
            case 1:
                return [answer(item) for item in items][: len(items) - 1]
            case _:
                return [answer(item) for item in items]

    async def caller(batcher: Batcher[int, str], number: int) -> None:
        items = [number * 1000 + i for i in range(chance.choice([1, 1, 1, 2, 5, 20]))]
        for _ in range(chance.randrange(6)):
            await asyncio.sleep(0)
        with contextlib.suppress(ClusterError):
            assert await batcher.submit(items) == [answer(item) for item in items]

    async def scenario() -> None:
        batcher = batcher_for(send, places=places, max_batch=max_batch, max_queued=200)
        tasks = [asyncio.create_task(caller(batcher, number)) for number in range(callers)]
        for task in tasks:
            await asyncio.sleep(0)
            if chance.random() < 0.3:
                task.cancel()
            if chance.random() < 0.1:
                batcher.set_places(chance.randrange(1, 5))
        done, pending = await asyncio.wait(tasks, timeout=5)
        assert not pending
        assert [task.exception() for task in done if not task.cancelled() and task.exception()] == []
        await until(lambda: batcher.batches_in_flight == 0)
        assert (batcher.queued, batcher.in_flight) == (0, 0)

    asyncio.run(scenario())


async def test_a_lone_item_is_sent_at_once() -> None:
    """No timer: the loop's clock need not move at all."""
    gate = Gate()
    task = asyncio.create_task(batcher_for(gate).submit([7]))
    await some_turns()
    assert gate.batches == [[7]]
    gate.doors[0].set_result(None)
    assert await task == [answer(7)]


async def test_what_waits_is_the_next_batch() -> None:
    gate = Gate()
    batcher = batcher_for(gate, max_batch=3)
    first = asyncio.create_task(batcher.submit([0]))
    await gate.wait_for(1)
    later = [asyncio.create_task(batcher.submit([i])) for i in range(1, 6)]
    await until(lambda: batcher.queued == 5)
    gate.doors[0].set_result(None)
    await gate.wait_for(2)
    assert gate.batches == [[0], [1, 2, 3]]
    gate.doors[1].set_result(None)
    await gate.wait_for(3)
    gate.doors[2].set_result(None)
    assert gate.batches[2] == [4, 5]
    assert await asyncio.gather(first, *later) == [[answer(i)] for i in range(6)]


async def test_places_are_shared_and_respected() -> None:
    """With two places neither takes all, so that two replicas work; never more than two are in flight."""
    gate = Gate()
    batcher = batcher_for(gate, places=2)
    tasks = [asyncio.create_task(batcher.submit([i])) for i in range(10)]
    await gate.wait_for(2)
    assert [len(batch) for batch in gate.batches] == [5, 5]
    tasks += [asyncio.create_task(batcher.submit([i])) for i in range(10, 14)]
    await until(lambda: batcher.queued == 4)
    assert batcher.batches_in_flight == 2
    for door in gate.doors:
        door.set_result(None)
    await gate.wait_for(3)
    while not all(task.done() for task in tasks):
        for door in gate.doors:
            if not door.done():
                door.set_result(None)
        await asyncio.sleep(0)


async def test_a_further_place_waits_for_its_share() -> None:
    """What came while a batch is in flight goes beside it only when it is as much as that batch."""
    gate = Gate()
    batcher = batcher_for(gate, places=2)
    tasks = [asyncio.create_task(batcher.submit([i])) for i in range(4)]
    await gate.wait_for(2)
    gate.doors[0].set_result(None)
    await until(lambda: batcher.batches_in_flight == 1)
    tasks.append(asyncio.create_task(batcher.submit([4])))
    await some_turns()
    assert batcher.queued == 1
    tasks.append(asyncio.create_task(batcher.submit([5])))
    await gate.wait_for(3)
    assert gate.batches == [[0, 1], [2, 3], [4, 5]]
    for door in gate.doors[1:]:
        door.set_result(None)
    await asyncio.gather(*tasks)


async def test_places_change_live() -> None:
    gate = Gate()
    batcher = batcher_for(gate, places=0, max_batch=1)
    tasks = [asyncio.create_task(batcher.submit([i])) for i in range(3)]
    await until(lambda: batcher.queued == 3)
    await some_turns()
    assert gate.batches == []
    batcher.set_places(2)
    await gate.wait_for(2)
    batcher.set_places(1)
    gate.doors[0].set_result(None)
    await until(lambda: tasks[0].done())
    assert batcher.batches_in_flight == 1
    assert batcher.queued == 1  # the place that became free is gone
    gate.doors[1].set_result(None)
    await gate.wait_for(3)
    gate.doors[2].set_result(None)
    await asyncio.gather(*tasks)


async def test_a_caller_who_leaves_harms_nobody() -> None:
    """In the queue it is not sent; in a batch the others get their rows."""
    gate = Gate()
    batcher = batcher_for(gate)
    first, mate = (asyncio.create_task(batcher.submit([i])) for i in (0, 1))
    await gate.wait_for(1)
    waiting, other = (asyncio.create_task(batcher.submit([i])) for i in (2, 3))
    await until(lambda: batcher.queued == 2)
    first.cancel()
    waiting.cancel()
    await until(lambda: batcher.queued == 1)
    gate.doors[0].set_result(None)
    await gate.wait_for(2)
    gate.doors[1].set_result(None)
    assert await mate == [answer(1)]
    assert await other == [answer(3)]
    assert gate.batches == [[0, 1], [3]]


async def test_a_batch_that_everybody_left_is_not_sent() -> None:
    gate = Gate()
    batcher = batcher_for(gate)
    first = asyncio.create_task(batcher.submit([0]))
    await gate.wait_for(1)
    waiting = asyncio.create_task(batcher.submit([1]))
    await until(lambda: batcher.queued == 1)
    waiting.cancel()
    gate.doors[0].set_result(None)
    await first
    await some_turns()
    assert gate.batches == [[0]]


async def test_a_failed_batch_fails_only_its_callers() -> None:
    async def send(items: list[int]) -> list[str]:
        if 13 in items:
            raise ValueError("13 is not liked")
        return [answer(item) for item in items]

    batcher = batcher_for(send, max_batch=1)
    good, bad, after = await asyncio.gather(
        batcher.submit([1]), batcher.submit([13]), batcher.submit([2]), return_exceptions=True
    )
    assert (good, after) == ([answer(1)], [answer(2)])
    assert isinstance(bad, ValueError)


@pytest.mark.parametrize("difference", [-1, 1])
async def test_a_wrong_number_of_results_is_an_error(difference: int) -> None:
    async def send(items: list[int]) -> list[str]:
        return ["?"] * (len(items) + difference)

    with pytest.raises(ClusterError, match="came back with"):
        await batcher_for(send).submit([1, 2])


async def test_a_full_queue_refuses() -> None:
    gate = Gate()
    batcher = batcher_for(gate, places=0, max_queued=4, max_batch=2)
    tasks = [asyncio.create_task(batcher.submit([i])) for i in range(3)]
    await until(lambda: batcher.queued == 3)
    with pytest.raises(Overloaded):
        await batcher.submit([3, 4])
    with pytest.raises(Overloaded):
        await batcher.submit([3, 4, 5])  # larger than a batch: all or nothing
    tasks[0].cancel()  # who leaves makes room
    await until(lambda: batcher.queued == 2)
    tasks.append(asyncio.create_task(batcher.submit([3, 4])))
    await until(lambda: batcher.queued == 4)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_send_that_hangs_times_out() -> None:
    async def send(items: list[int]) -> list[str]:
        if items == [1]:
            await asyncio.Event().wait()
        return [answer(item) for item in items]

    batcher = batcher_for(send, timeout_s=0.05, max_batch=1)
    with pytest.raises(TimeoutError, match="no answer"):
        await batcher.submit([1])
    assert await batcher.submit([2]) == [answer(2)]  # the place is free again


async def test_waiting_for_a_place_times_out() -> None:
    batcher = batcher_for(Gate(), places=0, timeout_s=0.02)
    with pytest.raises(TimeoutError, match="no place"):
        await batcher.submit([1])
    with pytest.raises(TimeoutError, match="no place"):
        await batcher.submit([2])
    assert batcher.queued == 0


async def test_a_cancelled_send_is_an_error_not_a_cancelled_caller() -> None:
    async def send(items: list[int]) -> list[str]:
        raise asyncio.CancelledError

    with pytest.raises(ClusterError, match="cancelled"):
        await batcher_for(send).submit([1])


async def test_a_send_does_not_see_its_callers_context() -> None:
    """Ray would cancel the whole batch with the request in whose context it was sent."""
    request = contextvars.ContextVar("request", default="none")
    seen = []

    async def send(items: list[int]) -> list[str]:
        seen.append(request.get())
        return [answer(item) for item in items]

    batcher = batcher_for(send, max_batch=1)
    request.set("mine")
    await asyncio.gather(batcher.submit([1]), batcher.submit([2]))
    assert seen == ["none", "none"]


async def test_more_items_than_a_batch_come_back_in_order() -> None:
    gate = Gate()
    batcher = batcher_for(gate, max_batch=4)
    task = asyncio.create_task(batcher.submit(list(range(10))))
    for number in range(3):
        await gate.wait_for(number + 1)
        gate.doors[number].set_result(None)
    assert await task == [answer(i) for i in range(10)]
    assert [len(batch) for batch in gate.batches] == [4, 4, 2]


async def test_no_items_need_no_send() -> None:
    assert await batcher_for(Gate()).submit([]) == []


def test_limits_are_checked() -> None:
    with pytest.raises(ValueError, match="positive"):
        BatchLimits(max_batch=0)
