"""Asking the versions that a request was assigned to, and degrading rather than failing.

Whatever goes wrong with a version that is not the champion, the champion answers, and the failure is counted against
that version. Only the champion's own failures, and those of a version that the caller pinned, reach the caller.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from app.errors import ClusterError, Overloaded
from app.traffic_file import Cascade
from serve_deployments.assignment import Arm, Assigned, Ensemble, Single
from serve_deployments.metrics import Tally
from serve_deployments.served_version import ServedVersion

logger = logging.getLogger("ray.serve")


@dataclass(slots=True)
class Scored:
    """One image's answer."""

    probabilities: np.ndarray
    """float32 [C]"""
    version: str
    """Who answered; several joined by + for an ensemble."""


@dataclass(slots=True)
class Asked:
    """All answers of a request, in order, and the arm that gave them."""

    rows: list[Scored]
    arm: Arm


class Answering:
    def __init__(self, tally: Tally, *, challenger_timeout_s: float) -> None:
        """challenger_timeout_s: how long a version that the champion can stand in for may take."""
        self._tally = tally
        self._challenger_timeout_s = challenger_timeout_s

    async def ask(
        self, assigned: Assigned, versions: Mapping[str, ServedVersion], champion: str | None, pixels: list[np.ndarray]
    ) -> Asked:
        """pixels: uint8 [H, W, 3] each, at the input size.

        Raises ClusterError, Overloaded or TimeoutError when the champion, or a pinned version, does not answer.
        """
        question = _Question(self._tally, versions, champion, pixels, self._challenger_timeout_s)
        if isinstance(assigned, Single):
            return await question.single(assigned)
        if isinstance(assigned, Ensemble):
            return await question.ensemble(assigned)
        return await question.cascade(assigned)


@dataclass(slots=True)
class _Question:
    """One request's images, and whom they can be shown to."""

    tally: Tally
    versions: Mapping[str, ServedVersion]
    champion: str | None
    pixels: list[np.ndarray]
    challenger_timeout_s: float

    async def single(self, assigned: Single) -> Asked:
        alone = self.champion is None or assigned.version == self.champion
        if assigned.arm is Arm.PINNED or (alone and assigned.version in self.versions):
            rows = await self._ask(self.versions[assigned.version], assigned.arm, self.pixels)
            return Asked(_scored(rows, assigned.version), assigned.arm)
        tried = await self._try(assigned.version, assigned.arm, self.pixels)
        if tried is not None:
            return Asked(_scored(tried, assigned.version), assigned.arm)
        return await self._stand_in()

    async def ensemble(self, assigned: Ensemble) -> Asked:
        """The mean over the members that answer, by their weights."""
        members = list(assigned.weights)
        answers = await asyncio.gather(*(self._try(member, Arm.QUALITY, self.pixels) for member in members))
        there = [(member, rows) for member, rows in zip(members, answers, strict=True) if rows is not None]
        if not there:
            return await self._stand_in()
        weights = np.array([assigned.weights[member] for member, _ in there], np.float32)
        mean = np.tensordot(weights / weights.sum(), np.stack([np.stack(rows) for _, rows in there]), 1)
        return Asked(_scored(list(mean), "+".join(member for member, _ in there)), Arm.QUALITY)

    async def cascade(self, assigned: Cascade) -> Asked:
        first = await self.single(Single(assigned.fast, Arm.QUALITY))
        if first.arm is not Arm.QUALITY:
            return first  # the champion stood in
        unsure = [place for place, row in enumerate(first.rows) if row.probabilities.max() < assigned.threshold]
        self.tally.count("manta_cascade", ("fast",), len(first.rows) - len(unsure))
        if not unsure:
            return first
        self.tally.count("manta_cascade", ("accurate",), len(unsure))
        second = await self._try(assigned.accurate, Arm.QUALITY, [self.pixels[place] for place in unsure])
        if second is None:
            return first  # not as sure as wished for, but an answer
        rows = list(first.rows)
        for place, probabilities in zip(unsure, second, strict=True):
            rows[place] = Scored(probabilities, assigned.accurate)
        return Asked(rows, Arm.QUALITY)

    async def _stand_in(self) -> Asked:
        if self.champion is None:
            raise ClusterError("no version that could answer is available")
        rows = await self._ask(self.versions[self.champion], Arm.STAND_IN, self.pixels)
        return Asked(_scored(rows, self.champion), Arm.STAND_IN)

    async def _try(self, name: str, arm: Arm, pixels: list[np.ndarray]) -> list[np.ndarray] | None:
        """The version's rows, or None when it does not answer, which is counted and remembered."""
        version = self.versions.get(name)
        if version is None:
            self.tally.count("manta_fallbacks", (name, "not available"))
            return None
        if version.suspended:
            self.tally.count("manta_fallbacks", (name, "suspended"))
            return None
        breaker = version.breaker
        if not breaker.admits():
            self.tally.count("manta_fallbacks", (name, "breaker open"))
            return None
        try:
            async with asyncio.timeout(self.challenger_timeout_s):
                rows = await self._ask(version, arm, pixels)
        except asyncio.CancelledError:
            breaker.abandoned()
            raise
        except Overloaded:
            breaker.abandoned()
            self.tally.count("manta_fallbacks", (name, "overloaded"))
            return None
        except Exception as error:
            self.tally.count("manta_fallbacks", (name, "timeout" if isinstance(error, TimeoutError) else "error"))
            if breaker.failed(_reason(error)):
                self.tally.count("manta_breaker_opened", (name,))
                logger.exception("version %s fails and gets no traffic for a while", name)
            return None
        breaker.succeeded()
        return rows

    async def _ask(self, version: ServedVersion, arm: Arm, pixels: list[np.ndarray]) -> list[np.ndarray]:
        name, outcome, started = version.spec.version, "error", time.perf_counter()
        try:
            rows = await version.batcher.submit(pixels)
        except Overloaded:
            outcome = "overloaded"
            raise
        except TimeoutError:
            outcome = "timeout"
            raise
        except asyncio.CancelledError:
            # The time limit of a challenger arrives as a cancellation as well, but then time is up.
            limited = arm not in (Arm.CHAMPION, Arm.STAND_IN)
            late = limited and time.perf_counter() - started >= self.challenger_timeout_s
            outcome = "timeout" if late else "cancelled"
            raise
        else:
            outcome = "ok"
            self.tally.count("manta_images", (name, arm), len(pixels))
            return rows
        finally:
            self.tally.count("manta_requests", (name, arm, outcome))


def _scored(rows: Sequence[np.ndarray], version: str) -> list[Scored]:
    return [Scored(probabilities, version) for probabilities in rows]


def _reason(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[-1][:200] if text else type(error).__name__
