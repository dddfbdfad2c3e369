"""What a router tells `control` once a second. Plain data, pickled on the way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from serve_deployments.batch_statistics import BatchStatistics
from serve_deployments.metrics import Gauges, Tally
from serve_deployments.observation import Observation

INTERVAL_S = 1.0
"""Between two reports of a router."""


class LoggedAnswer(NamedTuple):
    """One image's answer, which feedback may be given to."""

    request_id: str
    image_index: int
    version: str
    arm: str
    class_id: int
    confidence: float
    at: float
    """Seconds since the epoch."""


class Instructions(NamedTuple):
    """What `control` answers."""

    suspended: frozenset[str]
    """Applications that get no users until the traffic file says so: they broke a guardrail."""


@dataclass(frozen=True, slots=True)
class Report:
    router: str
    """The replica's id."""
    revision: int
    """Of the traffic file in effect there."""
    problem: str | None
    """Why a newer file is not in effect there."""
    tally: Tally
    """All since the router started, so that a report that is lost or repeated does no harm."""
    gauges: Gauges
    statistics: dict[str, BatchStatistics]
    """By version: all since this router opened it."""
    taken_out: dict[str, str]
    """Versions whose breaker is open there, and why."""
    answers: list[LoggedAnswer]
    """Those since the last report that arrived."""
    observations: list[Observation] = field(default_factory=list)
    """Likewise."""
