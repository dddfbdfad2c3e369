"""A router's line to `control`, while that does not answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from serve_deployments import control_client
from serve_deployments.control_client import ControlClient


class Silent:
    """A handle whose calls never come back. `calls` holds those that still wait."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def options(self, **_: str) -> Silent:
        return self

    async def remote(self, *arguments: Any) -> None:
        self.calls.append(arguments)
        try:
            await asyncio.Event().wait()
        finally:
            self.calls.remove(arguments)


@pytest.fixture
def handle(monkeypatch: pytest.MonkeyPatch) -> Silent:
    monkeypatch.setattr(control_client, "CALL_TIMEOUT_S", 0.05)
    return Silent()


@pytest.fixture
def client(handle: Silent) -> ControlClient:
    client = ControlClient()
    client._handle = handle  # type: ignore[assignment]
    return client


async def test_what_is_not_answered_in_time_does_not_stay(client: ControlClient, handle: Silent) -> None:
    """Serve would keep it for as long as there is no control: a report a second, with all its answers."""
    with pytest.raises(TimeoutError):
        await client.call("metrics")
    await asyncio.sleep(0)
    assert handle.calls == []


async def test_a_client_that_leaves_takes_its_question_with_it(client: ControlClient, handle: Silent) -> None:
    asked = asyncio.create_task(client.call("metrics"))
    await asyncio.sleep(0.01)
    asked.cancel()
    await asyncio.wait([asked])
    await asyncio.sleep(0)
    assert handle.calls == []


async def test_a_change_goes_on_and_says_until_when_it_is_waited_for(client: ControlClient, handle: Silent) -> None:
    with pytest.raises(TimeoutError):
        await client.change("rollback", {})
    ((kind, values, deadline),) = handle.calls
    assert (kind, values) == ("rollback", {})
    assert isinstance(deadline, float)
