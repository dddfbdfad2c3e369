"""What follows from a comparison without asking anybody, for challengers that are on trial like that."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from app.ab_test import Verdict
from app.errors import Conflict
from app.traffic_changes import automatic, promoted, removed, stopped
from app.traffic_file import TrafficFile, TrafficVersion
from serve_deployments.assignment import TESTED
from serve_deployments.change_requests import ChangeRequest, Running
from serve_deployments.metrics import Tally

WHO = "A/B test"
MOST_STOOD_IN = 0.005
"""Share of a challenger's requests that the champion may have answered for it. What it fails on is left out of the
comparison, and is hardly what it would have answered best."""


def decision(
    traffic: TrafficFile, comparison: Mapping[str, Any], window: Tally, suspended: Collection[str]
) -> ChangeRequest | None:
    """The change that a verdict asks for, or None; one that promotes comes first, because it ends the others' test.

    The comparison is always valid, so it may be acted on at whichever look it decides. A challenger that is no better
    than the champion is no reason to change anything for users: it is taken down.
    comparison: as `Experiments.compare` gives it, of this traffic file. window: what routers counted lately.
    suspended: applications that broke a guardrail, as it is at any time.
    """
    summaries = {each["challenger"]["name"]: (each["verdict"], each["summary"]) for each in comparison["contrasts"]}
    decided = []
    for challenger in traffic.challengers:
        verdict, summary = summaries.get(challenger.version, (Verdict.UNDECIDED, ""))
        if not challenger.automatic or verdict == Verdict.UNDECIDED or challenger.application in suspended:
            continue
        better = verdict == Verdict.BETTER
        if better and stood_in(window, challenger.version) > MOST_STOOD_IN:
            continue
        decided.append((not better, challenger, summary))
    if not decided:
        return None
    no_better, challenger, summary = min(decided, key=lambda each: each[0])
    what = f"version {challenger.version} " + ("is taken down" if no_better else "is promoted to champion")
    make = _made(traffic, challenger, suspended, better=not no_better)
    return ChangeRequest(make=make, who=WHO, what=what, why=summary)


def stood_in(window: Tally, version: str) -> float:
    """The share of this version's requests that the champion answered in its place."""
    answered = sum(window.counters.get(("manta_requests", (version, arm, "ok")), 0) for arm in TESTED)
    instead = sum(
        count for (name, labels), count in window.counters.items() if name == "manta_fallbacks" and labels[0] == version
    )
    return instead / (answered + instead) if instead else 0.0


def _made(
    seen: TrafficFile, challenger: TrafficVersion, suspended: Collection[str], *, better: bool
) -> Callable[[TrafficFile, Running], TrafficFile]:
    version = challenger.version

    def make(live: TrafficFile, _running: Running) -> TrafficFile:
        if (live.champion, live.weights) != (seen.champion, seen.weights) or challenger not in live.challengers:
            raise Conflict("the traffic has changed since the verdict")
        if challenger.application in suspended:
            raise Conflict(f"version {version} has broken a guardrail since the verdict")
        if not better:
            kept = version in live.quality.versions
            return automatic(stopped(live, version), version, False) if kept else removed(live, version)
        return _without(promoted(live, version), live.former)

    return make


def _without(traffic: TrafficFile, version: str) -> TrafficFile:
    """Without a version that nothing needs any more: the champion before the former one, say."""
    deployed = {each.version: each for each in traffic.versions}.get(version)
    if deployed is None or deployed.weight or version in (traffic.former, *traffic.quality.versions):
        return traffic
    if traffic.shadow is not None and traffic.shadow.version == version:
        return traffic
    return removed(traffic, version)
