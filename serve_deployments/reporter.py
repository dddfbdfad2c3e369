"""Tells `control` once a second what this router counted, and keeps what it has to know of single images until then."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, NamedTuple, TypeVar

from app.errors import ClusterError
from serve_deployments.observation import Observation
from serve_deployments.report import INTERVAL_S, LoggedAnswer

logger = logging.getLogger("ray.serve")

T = TypeVar("T")

KEPT_SECONDS = 10
"""Reports' worth of entries that wait for a `control` that does not answer."""


class Unreported(Generic[T]):
    """Entries that were not reported yet, bounded."""

    def __init__(self, most_per_report: int) -> None:
        self._most = most_per_report
        self._since_report = 0
        self._entries: deque[T] = deque(maxlen=max(1, most_per_report * KEPT_SECONDS))

    def add(self, entry: T) -> None:
        if self._since_report < self._most:
            self._since_report += 1
            self._entries.append(entry)

    def take(self) -> list[T]:
        self._since_report = 0
        taken = list(self._entries)
        self._entries.clear()
        return taken

    def put_back(self, entries: list[T]) -> None:
        """They did not arrive. The newest are kept."""
        self._entries.extendleft(reversed(entries[-(self._entries.maxlen or 0) + len(self._entries) :]))


class Noted(NamedTuple):
    """Of single images, since the last report that arrived."""

    answers: list[LoggedAnswer]
    observations: list[Observation]


class Notes:
    """What is noted of single images until it is reported."""

    def __init__(self, most_answers: int, most_observations: int) -> None:
        """Both in the time between two reports; beyond that they are left out."""
        self.answers: Unreported[LoggedAnswer] = Unreported(most_answers)
        self.observations: Unreported[Observation] = Unreported(most_observations)

    def take(self) -> Noted:
        return Noted(self.answers.take(), self.observations.take())

    def put_back(self, noted: Noted) -> None:
        """It did not arrive."""
        self.answers.put_back(noted.answers)
        self.observations.put_back(noted.observations)


class Reporter:
    def __init__(self, notes: Notes, send: Callable[[Noted], Awaitable[None]]) -> None:
        """send: makes the report of the moment around what was noted. Raises ClusterError or TimeoutError."""
        self._notes = notes
        self._send = send
        self._failing = False

    async def run(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL_S)
            await self.report()

    async def report(self) -> None:
        noted = self._notes.take()
        try:
            await self._send(noted)
        except (ClusterError, TimeoutError) as error:
            self._notes.put_back(noted)
            if not self._failing:
                logger.warning("control has no reports of this router: %s", error or "no answer in time")
            self._failing = True
        except Exception:
            self._notes.put_back(noted)
            logger.exception("a report failed")  # the next one is tried nevertheless
        else:
            self._failing = False
