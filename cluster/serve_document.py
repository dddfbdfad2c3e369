"""The one declarative Serve document, built from the fragments in `cluster/serve/`.

Serve deletes applications that a document leaves out, restarts those whose `args` differ, and
applies a changed `user_config` in place. So the traffic file is the router's `user_config`, and
everything else about a running application stays as it was deployed.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from app.artifact import Manifest
from app.errors import BadInput, ClusterError

ROUTER = "router"
_FRAGMENTS = Path(__file__).parent / "serve"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedVersion:
    """One model version in the traffic file."""

    version: str
    bundle_uri: str
    """Immutable: a moved alias never changes a running application."""
    variant: str = "fp32"
    aliases: tuple[str, ...] = ()
    weight: float = 0.0
    """Share of the traffic, relative to the other weights."""

    suffix: str = ""
    """Sets its application's name apart from that of another bundle with the same version."""

    @property
    def application(self) -> str:
        """Runs this bundle and variant and no other."""
        return f"classifier-{self.version}" + ("" if self.variant == "fp32" else f"-{self.variant}") + self.suffix

    def beside(self, running: Mapping[str, Mapping[str, Any]]) -> ServedVersion:
        """The same version under a name that no other bundle runs under.

        Version 1 of two models, say: an application that changed its bundle would answer for both meanwhile.
        """
        apart = dataclasses.replace(self, suffix="-" + hashlib.sha256(self.bundle_uri.encode()).hexdigest()[:8])
        for each in (self, apart):
            if each.application in running and runs_version(running[each.application], each):
                return each
        return apart if self.application in running else self

    def to_dict(self) -> dict[str, Any]:
        """The router's schema: the application's name, not how it came about."""
        values = {**dataclasses.asdict(self), "aliases": list(self.aliases), "application": self.application}
        del values["suffix"]
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Who answers: the router's `user_config`. Without versions the service answers 503."""

    model: str
    versions: tuple[ServedVersion, ...] = ()
    revision: int = 0
    """Grows with every change."""

    @property
    def champion(self) -> ServedVersion | None:
        return next((version for version in self.versions if "champion" in version.aliases), None)

    def to_dict(self) -> dict[str, Any]:
        versions = [version.to_dict() for version in self.versions]
        return {"revision": self.revision, "model": self.model, "versions": versions}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Traffic:
        """Reads a deployed `user_config`. Raises ClusterError for one that this Manta did not write."""
        try:
            versions = tuple(_version_from(version) for version in values["versions"])
            return cls(model=values["model"], versions=versions, revision=values["revision"])
        except (KeyError, TypeError) as error:
            raise ClusterError(f"the deployed traffic file is not Manta's: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What a new application gets instead of the fragment's values; None leaves them."""

    replicas: int | None = None
    threads: int | None = None
    """ONNX Runtime threads of a classifier replica."""


def classifier_application(served: ServedVersion, scale: Scale | None = None) -> dict[str, Any]:
    """The application that runs this version and nothing else."""
    application = _fragment("classifier", scale)
    arguments: dict[str, Any] = {"version": served.version, "bundle_uri": served.bundle_uri, "variant": served.variant}
    if scale and scale.threads is not None:
        arguments["threads"] = scale.threads
    return {**application, "name": served.application, "args": {**application["args"], **arguments}}


def router_application(scale: Scale | None = None) -> dict[str, Any]:
    """The application that owns the HTTP route, still without a traffic file."""
    return _fragment("router", scale)


def with_traffic(router: Mapping[str, Any], traffic: Traffic) -> dict[str, Any]:
    """The same router application, with this traffic file as its deployment's `user_config`."""
    deployments = [{**deployment, "user_config": traffic.to_dict()} for deployment in router["deployments"]]
    return {**router, "deployments": deployments}


def traffic_of(router: Mapping[str, Any]) -> Traffic:
    """The traffic file in a router application. Raises ClusterError when there is none."""
    for deployment in router.get("deployments", ()):
        if deployment.get("user_config"):
            return Traffic.from_dict(deployment["user_config"])
    raise ClusterError("the router has no traffic file")


def build_document(applications: Iterable[Mapping[str, Any]], *, host: str, port: int) -> dict[str, Any]:
    """What `PUT /api/serve/applications/` and `serve deploy` take. Serve deletes every other application."""
    service = _read("service")
    http_options = {**service["http_options"], "host": host, "port": port}
    return {**service, "http_options": http_options, "applications": [dict(each) for each in applications]}


def runs_version(application: Mapping[str, Any], served: ServedVersion) -> bool:
    """Whether a deployed application runs exactly this bundle and variant."""
    arguments = application.get("args") or {}
    wanted = (served.version, served.bundle_uri, served.variant)
    return (arguments.get("version"), arguments.get("bundle_uri"), arguments.get("variant", "fp32")) == wanted


def _version_from(values: Mapping[str, Any]) -> ServedVersion:
    names = ("version", "bundle_uri", "variant", "weight")
    plain = ServedVersion(**{name: values[name] for name in names}, aliases=tuple(values["aliases"]))
    return dataclasses.replace(plain, suffix=values["application"].removeprefix(plain.application))


def _fragment(name: str, scale: Scale | None) -> dict[str, Any]:
    application = _read(name)
    if scale and scale.replicas is not None:
        for deployment in application["deployments"]:
            deployment["num_replicas"] = scale.replicas
    return application


def _read(name: str) -> dict[str, Any]:
    fragment: dict[str, Any] = yaml.safe_load((_FRAGMENTS / f"{name}.yaml").read_text(encoding="utf-8"))
    return fragment
