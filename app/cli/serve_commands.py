"""The verb that puts a version live: serve."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Annotated

import typer
import yaml

from app.cli.cluster_commands import Json, ray_hint
from app.cli.output import Output
from app.cli.session import session
from app.config import DEFAULT_HTTP_PORT, Home, http_host
from app.errors import ClusterError
from cluster.connection import connect
from cluster.deployment import put_live, service_port
from cluster.serve_client import ServeClient
from cluster.serve_document import (
    Scale,
    ServedVersion,
    Traffic,
    build_document,
    classifier_application,
    router_application,
    with_traffic,
)


def add_to(app: typer.Typer) -> None:
    app.command()(serve)


def serve(
    version: Annotated[
        str, typer.Argument(help="name/3, name@champion, or name for its champion. Unless given, the only champion.")
    ] = "@champion",
    port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65535, help="Port of the HTTP service. Unless given, that of the service that runs, else 8000."
        ),
    ] = None,
    replicas: Annotated[int | None, typer.Option(min=1, help="Classifier replicas.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="ONNX Runtime threads of each classifier replica.")] = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the Serve config YAML for `serve deploy` and do nothing else.")
    ] = False,
    json: Json = False,
) -> None:
    """Put a version live and make it the champion.

    It takes all traffic, on the running cluster or on one that is started and stays up. A service that runs
    changes to it without losing a request, and `manta serve` with the former version changes back. The
    promotion is logged.

    Example: manta serve digits/2
    """
    from app.registry import CHAMPION, Registry

    output, registry = Output(as_json=json), Registry(Home.from_env())
    found = registry.resolve(version)
    served = ServedVersion(version=found.version, bundle_uri=found.bundle_uri, aliases=found.aliases, weight=1.0)
    scale = Scale(replicas=replicas, threads=threads)
    if print_config:
        typer.echo(document_text(served, found.name, scale, port), nl=False)
        return
    with (
        session(output, serving=True, port=port, keep=True) as running,
        contextlib.closing(ServeClient(running.connection.dashboard_url)) as client,
    ):
        output.say(f"deploying {found.reference}")
        url = put_live(client, found.name, served, port=service_port(client, port), scale=scale)
        if CHAMPION not in found.aliases:
            registry.promote(found, CHAMPION, who="manta serve", why=f"put live at {url}")
            output.say(f"{found.reference} is now {CHAMPION}")
        dashboard = running.connection.dashboard_url
        output.facts(f"{found.reference} is live", [("service", url), ("dashboard", dashboard)])
        ray_hint(running.connection, output)
    output.next_commands(f"manta predict IMAGE --url {url}", f"curl -s {url}/model/info", "manta status", "manta down")
    output.result({"version": found.reference, "url": url, "dashboard_url": dashboard})


def document_text(served: ServedVersion, model: str, scale: Scale, port: int | None) -> str:
    """The Serve config as YAML: what would be deployed on the running service, or on a new one."""
    state = None
    with contextlib.suppress(ClusterError), contextlib.closing(_client()) as client:
        state = client.state()
    revision = state.traffic.revision + 1 if state and state.traffic else 1
    traffic = Traffic(model=model, versions=(dataclasses.replace(served, aliases=("champion",)),), revision=revision)
    applications = [with_traffic(router_application(), traffic), classifier_application(served, scale)]
    port = port or (state.port if state else None) or DEFAULT_HTTP_PORT
    return yaml.safe_dump(build_document(applications, host=http_host(), port=port), sort_keys=False)


def _client() -> ServeClient:
    return ServeClient(connect(Home.from_env()).dashboard_url)
