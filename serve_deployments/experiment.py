"""The A/B test that runs: of which versions, and in which time both arms were counted."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace

from app.traffic_file import TrafficFile, TrafficVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """Times in seconds since the epoch."""

    model: str
    champion: str
    challengers: tuple[str, ...]
    conditions: str
    """Graphs and shares of all arms. Of answers under others nothing follows: they came at another hour."""
    began: float
    seen: float
    """When these conditions were last known to hold."""
    ended: bool = False

    @property
    def until(self) -> float:
        """Answers after it are none of this test's: one arm would go on alone."""
        return self.seen if self.ended else math.inf

    def to_text(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Experiment:
        values = json.loads(text)
        return cls(**{**values, "challengers": tuple(values["challengers"])})


def followed(known: Experiment | None, traffic: TrafficFile, now: float) -> Experiment | None:
    """What this traffic file makes of the test: it goes on, has ended, or another one begins."""
    conditions = _conditions(traffic)
    if conditions is None or traffic.champion is None:
        return replace(known, ended=True) if known else None
    if known is not None and not known.ended and known.conditions == conditions:
        return replace(known, seen=now)
    return Experiment(
        model=traffic.model,
        champion=traffic.champion.version,
        challengers=tuple(each.version for each in traffic.challengers),
        conditions=conditions,
        began=now,
        seen=now,
    )


def _conditions(traffic: TrafficFile) -> str | None:
    """None without two arms."""
    if traffic.champion is None or not traffic.challengers:
        return None
    arms = sorted(f"{_graph(each)} {each.weight:g}" for each in traffic.challengers)
    return "; ".join((traffic.model, _graph(traffic.champion), *arms))


def _graph(version: TrafficVersion) -> str:
    return f"{version.version} {version.bundle_uri} {version.variant}"
