"""Tells `control` once a second what this router counted, and keeps answers that feedback may come for until it has."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from app.errors import ClusterError
from serve_deployments.report import INTERVAL_S, LoggedAnswer

logger = logging.getLogger("ray.serve")

KEPT_SECONDS = 10
"""Reports' worth of answers that wait for a `control` that does not answer."""


class AnswerLog:
    """Answers that were not reported yet, bounded."""

    def __init__(self, most_per_report: int) -> None:
        self._most = most_per_report
        self._since_report = 0
        self._answers: deque[LoggedAnswer] = deque(maxlen=max(1, most_per_report * KEPT_SECONDS))

    def add(self, answer: LoggedAnswer) -> None:
        if self._since_report < self._most:
            self._since_report += 1
            self._answers.append(answer)

    def take(self) -> list[LoggedAnswer]:
        self._since_report = 0
        taken = list(self._answers)
        self._answers.clear()
        return taken

    def put_back(self, answers: list[LoggedAnswer]) -> None:
        """They did not arrive. The newest are kept."""
        self._answers.extendleft(reversed(answers[-(self._answers.maxlen or 0) + len(self._answers) :]))


class Reporter:
    def __init__(self, log: AnswerLog, send: Callable[[list[LoggedAnswer]], Awaitable[None]]) -> None:
        """send: makes the report of the moment around these answers. Raises ClusterError or TimeoutError."""
        self._log = log
        self._send = send
        self._failing = False

    async def run(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL_S)
            await self.report()

    async def report(self) -> None:
        answers = self._log.take()
        try:
            await self._send(answers)
        except (ClusterError, TimeoutError) as error:
            self._log.put_back(answers)
            if not self._failing:
                logger.warning("control has no reports of this router: %s", error or "no answer in time")
            self._failing = True
        except Exception:
            self._log.put_back(answers)
            logger.exception("a report failed")  # the next one is tried nevertheless
        else:
            self._failing = False
