"""Changes to the traffic file: each takes one and returns the next. Its revision is raised where it is put into effect.

Weights are percent of the traffic here: challengers have theirs, and the champion has the rest. Every change moves as
few users as it must.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from app.buckets import rebalance
from app.errors import BadInput, NotFound
from app.strict_model import first_complaint
from app.traffic_file import CHAMPION, Guardrails, Quality, Shadow, TrafficFile, TrafficVersion

WHOLE = 100.0


def replaced(traffic: TrafficFile, model: str, champion: TrafficVersion) -> TrafficFile:
    """One version takes all traffic, as the champion; nothing else stays."""
    alone = _as_champion(champion, WHOLE)
    return TrafficFile(revision=traffic.revision, model=model, versions=(alone,), guardrails=traffic.guardrails)


def added(traffic: TrafficFile, version: TrafficVersion, percent: float = 0.0) -> TrafficFile:
    """One more version, or another application for one that is there, with this share of the traffic."""
    others = tuple(each for each in traffic.versions if each.version != version.version)
    known = _find(traffic, version.version)
    if known is not None and CHAMPION in known.aliases:
        raise BadInput(f"version {version.version} is the champion already")
    version = version.model_copy(update={"weight": 0.0, "aliases": _without_champion(version.aliases)})
    grown = _changed(traffic, versions=_shared(traffic, (*others, version)))
    return weighted(grown, {version.version: percent})


def weighted(traffic: TrafficFile, percents: Mapping[str, float]) -> TrafficFile:
    """These challengers get these shares. Raises NotFound, and BadInput when nothing is left for the champion."""
    champion = _champion(traffic)
    for version in percents:
        _get(traffic, version)
    if champion.version in percents:
        raise BadInput(f"version {champion.version} is the champion: it has what the others leave")
    now = percent_of(traffic)
    wanted = {version: share for version, share in now.items() if version != champion.version} | dict(percents)
    if any(not 0 <= share <= WHOLE for share in percents.values()):
        raise BadInput("a share is a percentage: 0 to 100")
    rest = WHOLE - sum(wanted.values())
    if rest < 0:
        raise BadInput(f"the shares of the challengers sum up to {sum(wanted.values()):g} %, more than there is")
    wanted[champion.version] = rest
    return _changed(
        traffic,
        versions=[each.model_copy(update={"weight": round(wanted[each.version], 6)}) for each in traffic.versions],
    )


def promoted(traffic: TrafficFile, version: str) -> TrafficFile:
    """This version becomes the champion, with the share that the former one had and its own.

    The former champion stays deployed without traffic, so that a rollback takes no start.
    """
    former, coming = _champion(traffic), _get(traffic, version)
    if former.version == version:
        raise BadInput(f"version {version} is the champion already")
    share = percent_of(traffic)
    versions = []
    for each in traffic.versions:
        if each.version == version:
            each = _as_champion(coming, share[version] + share[former.version])
        elif each.version == former.version:
            each = each.model_copy(update={"weight": 0.0, "aliases": _without_champion(each.aliases)})
        else:
            each = each.model_copy(update={"weight": share[each.version]})
        versions.append(each)
    return _changed(traffic, versions=versions, shadow=_shadow_besides(traffic, version), former=former.version)


def automatic(traffic: TrafficFile, version: str, decides_itself: bool) -> TrafficFile:
    """Whether feedback decides about this version without asking anybody. Raises NotFound."""
    _get(traffic, version)
    versions = [
        each.model_copy(update={"automatic": decides_itself}) if each.version == version else each
        for each in traffic.versions
    ]
    return _changed(traffic, versions=versions)


def stopped(traffic: TrafficFile, version: str) -> TrafficFile:
    """A challenger without traffic: it stays deployed, and the champion gets its share."""
    return weighted(traffic, {version: 0.0})


def removed(traffic: TrafficFile, version: str) -> TrafficFile:
    """Without this version. Raises BadInput for the champion and for one that a quality needs."""
    if _get(traffic, version) == traffic.champion:
        raise BadInput(f"version {version} is the champion; promote another one first")
    if version in traffic.quality.versions:
        raise BadInput(f"version {version} answers a `quality`; change that first")
    without = stopped(traffic, version)
    versions = [each for each in without.versions if each.version != version]
    former = traffic.former if traffic.former != version else ""
    return _changed(without, versions=versions, shadow=_shadow_besides(traffic, version), former=former)


def shadowed(traffic: TrafficFile, shadow: Shadow | None) -> TrafficFile:
    """Copies requests to this version, or to none. Raises NotFound, and BadInput for the champion."""
    if shadow is not None and _get(traffic, shadow.version) == traffic.champion:
        raise BadInput("the champion cannot be its own shadow")
    return _changed(traffic, shadow=shadow)


def with_quality(traffic: TrafficFile, quality: Quality) -> TrafficFile:
    """What `quality` means from now on. Raises NotFound for a version that is not deployed."""
    for version in sorted(quality.versions):
        _get(traffic, version)
    return _changed(traffic, quality=quality)


def with_guardrails(traffic: TrafficFile, guardrails: Guardrails) -> TrafficFile:
    return _changed(traffic, guardrails=guardrails)


def percent_of(traffic: TrafficFile) -> dict[str, float]:
    """The share of the traffic that each version has, 0 to 100."""
    total = sum(version.weight for version in traffic.versions)
    return {each.version: each.weight / total * WHOLE if total else 0.0 for each in traffic.versions}


def _shared(traffic: TrafficFile, versions: Iterable[TrafficVersion]) -> list[TrafficVersion]:
    share = percent_of(traffic)
    return [each.model_copy(update={"weight": share.get(each.version, 0.0)}) for each in versions]


def _as_champion(version: TrafficVersion, weight: float) -> TrafficVersion:
    aliases = tuple(dict.fromkeys((CHAMPION, *version.aliases)))
    return version.model_copy(update={"weight": weight, "aliases": aliases, "automatic": False})


def _without_champion(aliases: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(alias for alias in aliases if alias != CHAMPION)


def _shadow_besides(traffic: TrafficFile, version: str) -> Shadow | None:
    """The shadow, unless it is this version, which is gone or answers everybody."""
    return traffic.shadow if traffic.shadow and traffic.shadow.version != version else None


def _find(traffic: TrafficFile, version: str) -> TrafficVersion | None:
    return next((each for each in traffic.versions if each.version == version), None)


def _get(traffic: TrafficFile, version: str) -> TrafficVersion:
    found = _find(traffic, version)
    if found is None:
        there = ", ".join(each.version for each in traffic.versions) or "none"
        raise NotFound(f"version {version} is not deployed; deployed: {there}")
    return found


def _champion(traffic: TrafficFile) -> TrafficVersion:
    if traffic.champion is None:
        raise BadInput("no version is the champion yet; put one live with `manta serve`")
    return traffic.champion


def _changed(traffic: TrafficFile, **fields: Any) -> TrafficFile:
    """Validates as a whole, and lays the buckets anew where the weights changed."""
    values = {**{name: getattr(traffic, name) for name in type(traffic).model_fields}, **fields, "buckets": ()}
    try:
        changed = TrafficFile.model_validate(values)
        if changed.weights == traffic.weights:
            buckets = traffic.buckets
        else:
            buckets = rebalance(traffic.assigned, changed.weights) if traffic.assigned else ()
        return TrafficFile.model_validate({**values, "buckets": buckets})
    except ValidationError as error:
        raise BadInput(first_complaint(error)) from error
