"""Requests to change the service, checked: what the admin routes take, as one change of the traffic file each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import Field, ValidationError

from app.config import Home
from app.errors import BadInput, Conflict, NotFound
from app.promotions import read_promotions
from app.replicas import Replicas
from app.strict_model import Strict, first_complaint
from app.traffic_changes import (
    added,
    automatic,
    percent_of,
    promoted,
    removed,
    replaced,
    shadowed,
    weighted,
    with_guardrails,
    with_quality,
)
from app.traffic_file import CHAMPION, Guardrails, Quality, Shadow, TrafficFile
from cluster.deployment import Change
from cluster.serve_document import Scale, place

Running = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRequest:
    make: Change
    who: str
    what: str
    """In a few words, for the log of decisions."""
    why: str
    scale: Scale | None = None
    version: str | None = None
    """The one that gets the scale where it runs already."""


class _Request(Strict):
    who: str = Field(default="admin", max_length=200)
    why: str = Field(default="", max_length=2000)
    model: str = Field(default="", max_length=200)
    """The registry's name of the model that is meant; the change is refused when the live one is another."""
    revision: int | None = None
    """The revision that the caller looked at; the change is refused when the live one is another."""

    kind: ClassVar[str]

    def describe(self) -> str:
        raise NotImplementedError

    def make(self, traffic: TrafficFile, running: Running) -> TrafficFile:
        raise NotImplementedError

    @property
    def scale(self) -> Scale | None:
        return None


class Deploy(_Request):
    """Start a version. It gets this share of the traffic, or all of it as the only one."""

    kind = "deploy"
    version: str = Field(min_length=1, max_length=100)
    bundle_uri: str = Field(min_length=1, max_length=2000)
    """The immutable bundle: whoever asks has looked the version up in the registry."""
    variant: str = "fp32"
    weight: float | None = Field(default=None, ge=0, le=100)
    """Percent of the traffic. Unless given, what it has: nothing, where it does not run yet."""
    shadow: float | None = Field(default=None, gt=0, le=1)
    """Share of the requests that it is asked a copy of."""
    automatic: bool | None = None
    """Feedback decides about it without asking anybody. Unless given, as it was; not for a new one."""
    replicas: int | str | None = None
    """A number, or a range such as 1:4 that follows the load."""
    threads: int | None = Field(default=None, ge=1)

    def describe(self) -> str:
        share = "" if self.weight is None else f" at {self.weight:g} %"
        return f"version {self.version} is deployed{share}" + (", and feedback decides" if self.automatic else "")

    def make(self, traffic: TrafficFile, running: Running) -> TrafficFile:
        placed = place(running, version=self.version, bundle_uri=self.bundle_uri, variant=self.variant)
        if not traffic.versions:
            return replaced(traffic, self.model, placed)
        share = percent_of(traffic).get(self.version, 0.0) if self.weight is None else self.weight
        after = added(traffic, placed, share)
        known = {each.version: each.automatic for each in traffic.versions}.get(self.version, False)
        after = automatic(after, self.version, known if self.automatic is None else self.automatic)
        if self.shadow is None:
            return after
        return shadowed(after, Shadow(version=self.version, share=self.shadow))

    @property
    def scale(self) -> Scale | None:
        replicas = Replicas.parse(self.replicas) if self.replicas is not None else None
        return Scale(replicas=replicas, threads=self.threads)


class Undeploy(_Request):
    kind = "undeploy"
    version: str

    def describe(self) -> str:
        return f"version {self.version} is taken down"

    def make(self, traffic: TrafficFile, _running: Running) -> TrafficFile:
        return removed(traffic, self.version)


class Weigh(_Request):
    kind = "weights"
    percent: dict[str, float] = Field(min_length=1)
    """By version; the champion has what is left."""

    def describe(self) -> str:
        return ", ".join(f"version {version} gets {share:g} %" for version, share in self.percent.items())

    def make(self, traffic: TrafficFile, _running: Running) -> TrafficFile:
        return weighted(traffic, self.percent)


class SetShadow(_Request):
    kind = "shadow"
    version: str | None = None
    """None ends shadow traffic."""
    share: float = Field(default=1.0, gt=0, le=1)

    def describe(self) -> str:
        return f"version {self.version} shadows {self.share:.0%}" if self.version else "no shadow traffic any more"

    def make(self, traffic: TrafficFile, _running: Running) -> TrafficFile:
        return shadowed(traffic, Shadow(version=self.version, share=self.share) if self.version else None)


class SetQuality(_Request):
    kind = "quality"
    quality: Quality

    def describe(self) -> str:
        return "the meaning of `quality` is changed"

    def make(self, traffic: TrafficFile, _running: Running) -> TrafficFile:
        return with_quality(traffic, self.quality)


class SetGuardrails(_Request):
    kind = "guardrails"
    guardrails: Guardrails

    def describe(self) -> str:
        return "the guardrails are changed"

    def make(self, traffic: TrafficFile, _running: Running) -> TrafficFile:
        return with_guardrails(traffic, self.guardrails)


class SetTraffic(_Request):
    """Everything at once, for versions that are deployed: what is left out is as if it had never been set."""

    kind = "traffic"
    percent: dict[str, float] = Field(default_factory=dict)
    """By version, of the challengers; those left out get nothing, and the champion has the rest."""
    shadow: Shadow | None = None
    quality: Quality = Quality()
    guardrails: Guardrails = Guardrails()

    def describe(self) -> str:
        return "the traffic file is replaced"

    def make(self, traffic: TrafficFile, _running: Running) -> TrafficFile:
        others = {each.version: 0.0 for each in traffic.challengers}
        after = weighted(traffic, others | self.percent)
        return with_guardrails(with_quality(shadowed(after, self.shadow), self.quality), self.guardrails)


class Promote(_Request):
    kind = "promote"
    version: str

    def describe(self) -> str:
        return f"version {self.version} is promoted to champion"

    def make(self, traffic: TrafficFile, _running: Running) -> TrafficFile:
        return promoted(traffic, self.version)


class Rollback(_Request):
    """Back to the champion before this one, which `promote` left deployed."""

    kind = "rollback"

    def describe(self) -> str:
        return "rolled back to the former champion"

    def make(self, traffic: TrafficFile, _running: Running) -> TrafficFile:
        return promoted(traffic, _former_champion(traffic))


_KINDS: Mapping[str, type[_Request]] = {
    kind.kind: kind
    for kind in (Deploy, Undeploy, Weigh, SetShadow, SetQuality, SetGuardrails, SetTraffic, Promote, Rollback)
}


def parse(kind: str, values: Mapping[str, Any]) -> ChangeRequest:
    """Raises BadInput for what is no such request."""
    try:
        request = _KINDS[kind].model_validate(values)
    except ValidationError as error:
        raise BadInput(first_complaint(error)) from error
    return ChangeRequest(
        make=_guarded(request),
        who=request.who,
        what=request.describe(),
        why=request.why,
        scale=request.scale,
        version=request.version if isinstance(request, Deploy) else None,
    )


def _guarded(request: _Request) -> Change:
    """Against lost updates, and versions of another model that have the same number."""

    def guarded(traffic: TrafficFile, running: Running) -> TrafficFile:
        if request.revision is not None and traffic.revision != request.revision:
            raise Conflict(
                f"the traffic file is at revision {traffic.revision}, not {request.revision}: look again and repeat"
            )
        if request.model and traffic.versions and traffic.model and request.model != traffic.model:
            raise BadInput(f"the service has versions of {traffic.model}; {request.model} needs a service of its own")
        return request.make(traffic, running)

    return guarded


def _former_champion(traffic: TrafficFile) -> str:
    """Raises NotFound when there was none.

    The traffic file knows it, also where the registry did not follow; but not of one that was replaced by `manta serve`
    and deployed again.
    """
    if traffic.former:
        return traffic.former
    champion = traffic.champion
    log = read_promotions(Home.from_env().promotion_log)
    for promotion in reversed(log):
        moved = promotion.alias == CHAMPION and promotion.model == traffic.model
        if moved and champion is not None and promotion.after == champion.version and promotion.before:
            return promotion.before
    raise NotFound("the promotion log knows of no champion before this one")
