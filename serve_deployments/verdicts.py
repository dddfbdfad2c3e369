"""What follows from a comparison without asking anybody, for challengers that are on trial like that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from app.ab_test import Verdict
from app.errors import Conflict
from app.traffic_changes import automatic, promoted, stopped
from app.traffic_file import TrafficFile, TrafficVersion
from serve_deployments.change_requests import ChangeRequest, Running

WHO = "A/B test"


def decision(traffic: TrafficFile, comparison: Mapping[str, Any]) -> ChangeRequest | None:
    """The change that the first verdict asks for, or None.

    The comparison is always valid, so it may be acted on at whichever look it decides. A challenger that is no better
    than the champion is no reason to change anything for users: it loses its traffic.
    comparison: as `Experiments.compare` gives it, of this traffic file.
    """
    summaries = {each["challenger"]["name"]: (each["verdict"], each["summary"]) for each in comparison["contrasts"]}
    for challenger in traffic.challengers:
        verdict, summary = summaries.get(challenger.version, (Verdict.UNDECIDED, ""))
        if not challenger.automatic or verdict == Verdict.UNDECIDED:
            continue
        version = challenger.version
        better = verdict == Verdict.BETTER
        what = f"version {version} " + ("is promoted to champion" if better else "gets no traffic any more")
        return ChangeRequest(make=_made(traffic, challenger, better=better), who=WHO, what=what, why=summary)
    return None


def _made(
    seen: TrafficFile, challenger: TrafficVersion, *, better: bool
) -> Callable[[TrafficFile, Running], TrafficFile]:
    def make(live: TrafficFile, _running: Running) -> TrafficFile:
        if (live.champion, live.weights) != (seen.champion, seen.weights) or challenger not in live.challengers:
            raise Conflict("the traffic has changed since the verdict")
        if better:
            return promoted(live, challenger.version)
        return automatic(stopped(live, challenger.version), challenger.version, False)

    return make
