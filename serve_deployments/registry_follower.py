"""The registry's champion follows the one that serves, also when the registry was away at the time."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from app.errors import MantaError, NotFound

logger = logging.getLogger("ray.serve")

PATIENCE_S = 60.0
"""For one attempt: a tracking server that drops packets would otherwise keep it for as long as it retries."""


class LiveChampion(NamedTuple):
    """What serves now, and who decided that, why."""

    model: str
    version: str
    who: str
    why: str

    @property
    def reference(self) -> tuple[str, str]:
        return self.model, self.version


Promote = Callable[[LiveChampion], Awaitable[None]]
"""Moves the registry's alias. Raises what Ray makes of the registry's errors."""


class RegistryFollower:
    def __init__(self, promote: Promote, remember: Callable[[str], Awaitable[None]], remembered: str = "") -> None:
        """remember: keeps a text for the next one's `remembered`. Raises ClusterError."""
        self._promote = promote
        self._remember = remember
        self._wanted = LiveChampion(*json.loads(remembered)) if remembered else None
        self._attempt = asyncio.Lock()

    async def follow(self, champion: LiveChampion) -> None:
        """Raises what keeps the registry from following; `catch_up` tries it again."""
        await self._want(champion)
        await self._try()

    async def catch_up(self, live: tuple[str, str] | None) -> None:
        """What the registry missed, unless another version serves by now: (model, version), moved by somebody else.

        Raises what keeps it from following.
        """
        if self._wanted is None or self._attempt.locked():
            return
        if live != self._wanted.reference:
            await self._want(None)
            return
        await self._try()

    async def _try(self) -> None:
        async with self._attempt:
            wanted = self._wanted
            if wanted is None:
                return
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await self._promote(wanted)
            except TimeoutError as error:
                raise TimeoutError(f"it did not answer in {PATIENCE_S:.0f} s") from error
            except Exception as error:
                if isinstance(cause_of(error), NotFound) and self._wanted == wanted:  # it will never have this version
                    await self._want(None)
                raise
            if self._wanted == wanted:
                await self._want(None)

    async def _want(self, champion: LiveChampion | None) -> None:
        self._wanted = champion
        try:
            await self._remember(json.dumps(champion) if champion else "")
        except MantaError as error:
            logger.warning("a control that starts now would not know what the registry has to follow: %s", error)


def cause_of(error: Exception) -> BaseException:
    """What was raised in the task, where Ray wraps it."""
    return getattr(error, "cause", None) or error
