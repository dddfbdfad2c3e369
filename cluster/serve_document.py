"""The one declarative Serve document, built from the fragments in `cluster/serve/`.

Serve deletes applications that a document leaves out, restarts those whose `args` differ, and
applies a changed `user_config` in place. So the traffic file is the router's `user_config`, and
everything else about a running application stays as it was deployed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from app.errors import ClusterError
from app.replicas import Replicas
from app.service_options import checked_options
from app.strict_model import first_complaint
from app.traffic_file import TrafficFile, TrafficVersion

ROUTER = "router"
CONTROL = "control"
GRPC_SERVICER = "serve_deployments.inference_messages.add_to_server"
_FRAGMENTS = Path(__file__).parent / "serve"


def place(
    running: Mapping[str, Mapping[str, Any]],
    *,
    version: str,
    bundle_uri: str,
    variant: str = "fp32",
    aliases: tuple[str, ...] = (),
) -> TrafficVersion:
    """A version for the traffic file, under an application name that no other bundle runs under.

    running: applications by name. Version 1 of two models, say, gets two names: an application that changed its bundle
    would answer for both meanwhile.
    """
    plain = f"classifier-{version}" + ("" if variant == "fp32" else f"-{variant}")
    apart = f"{plain}-{hashlib.sha256(bundle_uri.encode()).hexdigest()[:8]}"
    placed = TrafficVersion(version=version, application=plain, bundle_uri=bundle_uri, variant=variant, aliases=aliases)
    for name in (plain, apart):
        if name in running and runs_version(running[name], placed):
            return placed.model_copy(update={"application": name})
    return placed.model_copy(update={"application": apart if plain in running else plain})


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What applications get instead of the fragments' values; None leaves them."""

    replicas: Replicas | None = None
    """Of a version."""
    threads: int | None = None
    """ONNX Runtime threads of a classifier replica."""
    routers: Replicas | None = None
    """Of the router."""


def classifier_application(served: TrafficVersion, scale: Scale | None = None) -> dict[str, Any]:
    """The application that runs this version and nothing else."""
    application = _read("classifier")
    arguments = {"version": served.version, "bundle_uri": served.bundle_uri, "variant": served.variant}
    application = {**application, "name": served.application, "args": {**application["args"], **arguments}}
    return rescaled(application, scale)


def rescaled(classifier: Mapping[str, Any], scale: Scale | None) -> dict[str, Any]:
    """The same application of a version with those replicas and threads. With other threads its replicas start anew."""
    application = dict(classifier)
    if scale and scale.replicas is not None:
        application = scaled(application, scale.replicas)
    if scale and scale.threads is not None:
        application["args"] = {**application["args"], "threads": scale.threads}
    return application


def router_application() -> dict[str, Any]:
    """The application that owns the HTTP route, still without a traffic file."""
    return _read("router")


def configured(
    router: Mapping[str, Any], scale: Scale | None = None, options: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The same router application with so many replicas and these service options; what they leave open stays.

    With other options its replicas start anew. Raises BadInput for options that cannot be together.
    """
    application = dict(router)
    if scale and scale.routers is not None:
        application = scaled(application, scale.routers)
    if options:
        application["args"] = {**(router.get("args") or {}), **options}
        checked_options(application["args"])
    return application


def control_application() -> dict[str, Any]:
    """The application that watches routers and changes the traffic file."""
    return _read("control")


def scaled(application: Mapping[str, Any], replicas: Replicas) -> dict[str, Any]:
    """The same application with so many replicas. Serve changes their number without restarting any."""
    if replicas.least == replicas.most:
        number: dict[str, Any] = {"num_replicas": replicas.least}
    else:
        bounds = {"min_replicas": replicas.least, "max_replicas": replicas.most}
        number = {"autoscaling_config": {**_read("autoscaling"), **bounds}}
    deployments = [
        {name: value for name, value in each.items() if name not in ("num_replicas", "autoscaling_config")} | number
        for each in application["deployments"]
    ]
    return {**application, "deployments": deployments}


def with_traffic(router: Mapping[str, Any], traffic: TrafficFile) -> dict[str, Any]:
    """The same router application, with this traffic file as its deployment's `user_config`."""
    user_config = traffic.model_dump(mode="json")
    deployments = [{**deployment, "user_config": user_config} for deployment in router["deployments"]]
    return {**router, "deployments": deployments}


def traffic_of(router: Mapping[str, Any]) -> TrafficFile:
    """The traffic file in a router application. Raises ClusterError when there is none that this Manta can read."""
    for deployment in router.get("deployments", ()):
        if deployment.get("user_config"):
            try:
                return TrafficFile.model_validate(deployment["user_config"])
            except ValidationError as error:
                raise ClusterError(f"the deployed traffic file is not Manta's: {first_complaint(error)}") from error
    raise ClusterError("the router has no traffic file")


def build_document(
    applications: Iterable[Mapping[str, Any]], *, host: str, port: int, grpc_port: int | None = None
) -> dict[str, Any]:
    """What `PUT /api/serve/applications/` and `serve deploy` take. Serve deletes every other application."""
    service = _read("service")
    http_options = {**service["http_options"], "host": host, "port": port}
    document = {**service, "http_options": http_options, "applications": [dict(each) for each in applications]}
    if grpc_port is None:
        return document
    # Serve's reflection only knows messages of protobuf's default pool.
    servicers = {"grpc_servicer_functions": [GRPC_SERVICER], "enable_reflection": False}
    return {**document, "grpc_options": {**service["grpc_options"], "port": grpc_port, **servicers}}


def runs_version(application: Mapping[str, Any], served: TrafficVersion) -> bool:
    """Whether a deployed application runs exactly this bundle and variant."""
    arguments = application.get("args") or {}
    wanted = (served.version, served.bundle_uri, served.variant)
    return (arguments.get("version"), arguments.get("bundle_uri"), arguments.get("variant", "fp32")) == wanted


def _read(name: str) -> dict[str, Any]:
    fragment: dict[str, Any] = yaml.safe_load((_FRAGMENTS / f"{name}.yaml").read_text(encoding="utf-8"))
    return fragment
