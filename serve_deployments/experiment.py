"""The A/B test that runs: of which versions, and in which time both arms were counted."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

from app.ab_test import Comparison, compare
from app.errors import BadInput
from app.feedback import Feedback
from app.traffic_changes import percent_of
from app.traffic_file import TrafficFile, TrafficVersion
from serve_deployments.assignment import TESTED
from serve_deployments.live_store import LiveStore

_NAME = "A/B test"


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


class Experiments:
    """The one that runs, or ran last, on disk. Calls block for milliseconds, and raise what the store's raise."""

    def __init__(self, store: LiveStore) -> None:
        self._store = store

    def follow(self, traffic: TrafficFile) -> Experiment | None:
        """The A/B test under this traffic file; without a challenger, the one that ended last."""
        text = self._store.text(_NAME)
        known = Experiment.from_text(text) if text else None
        test = followed(known, traffic, time.time())
        if test is not None and test != known:
            self._store.save_text(_NAME, test.to_text())
        return test

    def compare(self, traffic: TrafficFile) -> dict[str, Any]:
        """What feedback says of it by now. Raises BadInput when there was none yet."""
        test = self.follow(traffic)
        if test is None:
            raise BadInput("no challenger has any traffic; deploy one with `manta deploy VERSION --weight 10`")
        counts = self._store.counts(test.began, TESTED, until=test.until)
        feedback = {name: Feedback(each.n, each.correct) for name, each in counts.items()}
        comparison = compare(
            (test.champion, feedback.get(test.champion, Feedback())),
            {each: feedback.get(each, Feedback()) for each in test.challengers},
        )
        return {
            "since": test.began,
            "until": test.seen if test.ended else None,
            "model": test.model,
            "percent": {} if test.ended else percent_of(traffic),
            **_as_values(comparison),
        }


def _as_values(comparison: Comparison) -> dict[str, Any]:
    values = asdict(comparison)
    for contrast, values_of_it in zip(comparison.contrasts, values["contrasts"], strict=True):
        values_of_it["verdict"] = str(contrast.verdict)
        values_of_it["summary"] = str(contrast)
    return values


def _conditions(traffic: TrafficFile) -> str | None:
    """None without two arms."""
    if traffic.champion is None or not traffic.challengers:
        return None
    arms = sorted(f"{_graph(each)} {each.weight:g}" for each in traffic.challengers)
    return "; ".join((traffic.model, _graph(traffic.champion), *arms))


def _graph(version: TrafficVersion) -> str:
    return " ".join(version.graph)
