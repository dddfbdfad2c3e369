"""Waiting for what other processes, threads or tasks do, as long as a busy machine may take."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable


def wait_for(condition: Callable[[], bool], *, seconds: float = 40, pause_s: float = 0.05) -> None:
    """Returns once it holds; fails after so many seconds. pause_s: between two looks."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"this did not come true within {seconds:g} s"
        time.sleep(pause_s)


async def eventually(condition: Callable[[], Awaitable[bool]], *, seconds: float = 20) -> None:
    """The same on an event loop, for what has to be asked for."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 (the state is another process's)
            await asyncio.sleep(0.01)


async def until(condition: Callable[[], bool], *, seconds: float = 5) -> None:
    """Gives other tasks of this loop their turn until the condition holds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 (the state is another object's, which has no event for it)
            await asyncio.sleep(0)
