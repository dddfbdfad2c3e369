"""Which versions answer a request: a function of the traffic file and the caller, worked out once for each file."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum

from app.buckets import bucket_of, expand
from app.errors import BadInput, ClusterError, NotFound
from app.traffic_file import CHAMPION, Cascade, TrafficFile

QUALITIES = ("fast", "accurate", "ensemble", "auto")


class Arm(StrEnum):
    """Why a version was asked. The first two are the A/B test; what others answer says nothing about it.

    The champion in place of a version that does not answer is a stand-in: what such a version cannot do is not chance.
    """

    CHAMPION = "champion"
    CHALLENGER = "challenger"
    PINNED = "pinned"
    QUALITY = "quality"
    SHADOW = "shadow"
    STAND_IN = "stand_in"


TESTED = (Arm.CHAMPION, Arm.CHALLENGER)
"""Arms that users were assigned to by chance: what is compared, and what a shadow is asked too."""


@dataclass(slots=True)
class Caller:
    """What assignment may depend on."""

    request_id: str
    user_id: str | None = None
    quality: str | None = None
    """One of `QUALITIES`."""
    version: str | None = None
    """The version that the caller pins."""
    started: float = field(default_factory=time.perf_counter, compare=False)
    """When the request came in, on the clock of `time.perf_counter`."""


@dataclass(frozen=True, slots=True)
class Single:
    """One version answers."""

    version: str
    arm: Arm


@dataclass(frozen=True, slots=True)
class Ensemble:
    """The weighted mean of several versions' probabilities."""

    weights: dict[str, float]


Assigned = Single | Ensemble | Cascade


class Assignment:
    """The traffic file, ready to be asked for each request."""

    def __init__(self, traffic: TrafficFile, available: Collection[str] = ()) -> None:
        """available: versions of the file that were opened; all but the champion may be missing."""
        self._traffic = traffic
        champion = traffic.champion
        singles = {
            each.version: Single(each.version, Arm.CHAMPION if CHAMPION in each.aliases else Arm.CHALLENGER)
            for each in traffic.versions
        }
        # Where nobody is the champion, versions with a weight are compared as if they were challengers.
        self._table = [singles[version] for version in expand(traffic.assigned)] if traffic.assigned else []
        self._only = self._table[0] if len(traffic.weights) == 1 else None
        self._pinned = {version: Single(version, Arm.PINNED) for version in available}
        self.champion = champion.version if champion else None

    def assign(self, caller: Caller) -> Assigned:
        """The same user stays with a version while its share stays.

        Raises ClusterError when nothing is deployed, NotFound for a pinned version that is not, BadInput for a
        quality that the traffic file does not have.
        """
        if caller.version is not None:
            return self._pin(caller.version)
        if caller.quality is not None:
            return self._quality(caller.quality)
        if self._only is not None:
            return self._only
        if not self._table:
            raise ClusterError("no model is deployed yet")
        return self._table[bucket_of(caller.user_id or caller.request_id)]

    def _pin(self, version: str) -> Single:
        found = self._pinned.get(version)
        if found is None:
            there = ", ".join(self._pinned) or "none"
            raise NotFound(f"version {version[:64]} is not deployed; deployed: {there}")
        return found

    def _quality(self, name: str) -> Assigned:
        quality = self._traffic.quality
        if name == "auto" and quality.auto is not None:
            return quality.auto
        if name == "ensemble" and quality.ensemble is not None:
            return Ensemble(quality.ensemble)
        version = {"fast": quality.fast, "accurate": quality.accurate}.get(name)
        if version is None:
            if name not in QUALITIES:
                raise BadInput(f"`quality` must be one of {', '.join(QUALITIES)}")
            raise BadInput(f"`quality` {name} is not set up in this service's traffic file")
        return Single(version, Arm.QUALITY)
