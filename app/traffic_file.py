"""The traffic file: which versions are deployed, and which of them answers what.

It is the router's `user_config` in the Serve document. `control` writes it, under a revision that grows; routers put
a new one into effect in place.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field, field_validator, model_validator

from app.buckets import Runs, expand, spread
from app.errors import BadInput
from app.strict_model import Strict

CHAMPION = "champion"


class TrafficVersion(Strict):
    """One deployed model version. With weight 0 it answers only who asks for it."""

    version: str = Field(min_length=1)
    application: str = Field(min_length=1)
    """The Serve application that runs it."""
    bundle_uri: str
    """Immutable: a moved alias never changes a running application."""
    variant: str = "fp32"
    aliases: tuple[str, ...] = ()
    weight: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Share of the traffic, relative to the other weights."""
    automatic: bool = False
    """Of a challenger: once feedback has decided, it becomes the champion or is taken down, and nobody is asked."""

    @property
    def graph(self) -> tuple[str, str, str]:
        """What answers: version, bundle and variant, whichever application runs it."""
        return self.version, self.bundle_uri, self.variant


class Shadow(Strict):
    """A version that is asked a copy of some requests. Its answers are compared and counted, and never returned."""

    version: str
    share: float = Field(default=1.0, gt=0, le=1)
    """Of the requests that are copied."""


class Cascade(Strict):
    """The fast version answers; where its confidence is below the threshold, the accurate one does."""

    fast: str
    accurate: str
    threshold: float = Field(ge=0, le=2)
    """Of the fast version's largest probability. `manta cascade` finds it."""

    @model_validator(mode="after")
    def _are_two(self) -> Cascade:
        if self.fast == self.accurate:
            raise ValueError("a cascade needs two versions")
        return self


class Quality(Strict):
    """What a request's `quality` means: deployed versions. A quality that is not set here is refused."""

    fast: str | None = None
    accurate: str | None = None
    auto: Cascade | None = None
    ensemble: dict[str, float] | None = None
    """Weights of the versions whose probabilities are averaged."""

    @field_validator("ensemble")
    @classmethod
    def _has_weights(cls, ensemble: dict[str, float] | None) -> dict[str, float] | None:
        if ensemble is not None and (len(ensemble) < 2 or min(ensemble.values()) <= 0):
            raise ValueError("an ensemble needs at least two versions with weights above 0")
        return ensemble

    @property
    def versions(self) -> set[str]:
        named = {self.fast, self.accurate, *(self.ensemble or ())}
        if self.auto is not None:
            named |= {self.auto.fast, self.auto.accurate}
        return {version for version in named if version is not None}


class Guardrails(Strict):
    """When a challenger's weight is set to 0 without asking anybody."""

    window_s: float = Field(default=60.0, gt=0, le=600)
    """Seconds that are looked at."""
    min_requests: int = Field(default=50, ge=1)
    """Answers of the challenger in the window before it is judged."""
    max_error_rate: float = Field(default=0.05, ge=0, le=1)
    """Errors, time-outs and refusals among its requests, beyond what chance explains, and more than the champion's."""
    max_p99_ratio: float | None = Field(default=5.0, gt=1)
    """Its p99 latency relative to the champion's in the same window."""
    max_p99_ms: float | None = Field(default=None, gt=0)
    """Its p99 latency in milliseconds."""


class TrafficFile(Strict):
    """Without versions the service runs and answers 503."""

    revision: int = Field(default=0, ge=0)
    """Grows with every change: two writers cannot overwrite each other unseen."""
    model: str = ""
    """The registry's name of the model."""
    versions: tuple[TrafficVersion, ...] = ()
    former: str = ""
    """The champion before this one, while it is deployed: what a rollback goes back to."""
    buckets: Runs = ()
    """Which version each bucket of users has; empty for one run a version, in order."""
    shadow: Shadow | None = None
    quality: Quality = Quality()
    guardrails: Guardrails = Guardrails()

    @model_validator(mode="after")
    def _is_consistent(self) -> TrafficFile:
        names = [version.version for version in self.versions]
        if len(set(names)) < len(names):
            raise ValueError(f"a version is listed twice: {', '.join(names)}")
        if self.versions and not self.weights:
            raise ValueError("no version has a weight above 0")
        if sum(CHAMPION in version.aliases for version in self.versions) > 1:
            raise ValueError("more than one version is the champion")
        for what, version in self._named():
            if version not in names:
                raise ValueError(f"{what} names version {version}, which is not deployed here")
        if self.buckets and {version for _, version in self.buckets} != set(self.weights):
            raise ValueError("buckets and weights name different versions")
        if self.buckets:
            try:
                expand(self.buckets)
            except BadInput as error:
                raise ValueError(str(error)) from error
        return self

    def _named(self) -> Iterator[tuple[str, str]]:
        if self.shadow is not None:
            yield "shadow", self.shadow.version
        if self.former:
            yield "former", self.former
        for version in sorted(self.quality.versions):
            yield "quality", version

    def __getitem__(self, version: str) -> TrafficVersion:
        """Raises KeyError for one that is not deployed."""
        try:
            return next(each for each in self.versions if each.version == version)
        except StopIteration:
            raise KeyError(version) from None

    def after(self, former: TrafficFile) -> TrafficFile:
        """The same file, as the revision that follows `former`."""
        return self.model_copy(update={"revision": former.revision + 1})

    @property
    def champion(self) -> TrafficVersion | None:
        return next((version for version in self.versions if CHAMPION in version.aliases), None)

    @property
    def challengers(self) -> tuple[TrafficVersion, ...]:
        """Versions with a weight that are not the champion."""
        return tuple(each for each in self.versions if each.weight > 0 and CHAMPION not in each.aliases)

    @property
    def weights(self) -> dict[str, float]:
        """By version, those above 0."""
        return {version.version: version.weight for version in self.versions if version.weight > 0}

    @property
    def assigned(self) -> Runs:
        """The buckets that are in effect."""
        return self.buckets or (spread(self.weights) if self.weights else ())
