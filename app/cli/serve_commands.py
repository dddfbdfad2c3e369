"""The verb that puts a version live: serve."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Annotated, Any

import typer
import yaml

from app.cli.cluster_commands import Json, ray_hint
from app.cli.output import Output
from app.cli.session import session
from app.config import DEFAULT_HTTP_PORT, Home, grpc_port, http_host
from app.errors import ClusterError
from app.replicas import Replicas
from app.service_options import ServiceOptions, parse_options
from app.traffic_changes import replaced
from app.traffic_file import TrafficFile, TrafficVersion
from cluster.connection import connect
from cluster.deployment import put_live, service_port
from cluster.serve_client import ServeClient
from cluster.serve_document import (
    Scale,
    build_document,
    classifier_application,
    configured,
    control_application,
    place,
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
    replicas: Annotated[
        str | None,
        typer.Option(
            help="Classifier replicas, also of a version that runs; 1:4 follows the load.", metavar="N|MIN:MAX"
        ),
    ] = None,
    routers: Annotated[
        str | None,
        typer.Option(help="Router replicas, also of a router that runs; 1:2 follows the load.", metavar="N|MIN:MAX"),
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="ONNX Runtime threads of each classifier replica.")] = None,
    set_options: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help=f"A service option, which stays until it is set again: {', '.join(ServiceOptions.model_fields)}.",
        ),
    ] = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the Serve config YAML for `serve deploy` and do nothing else.")
    ] = False,
    json: Json = False,
) -> None:
    """Put a version live and make it the champion.

    It takes all traffic, on the running cluster or on one that is started and stays up. A service that runs
    changes to it without losing a request, and `manta serve` with the former version changes back. Of the
    version that is the champion already only replicas, threads and options change. The promotion is logged.
    `manta deploy` puts a version beside the champion instead. Service options are explained in
    docs/DEPLOYMENT.md.

    Example: manta serve digits/2 --set cache_entries=10000 --set allow_origins=https://example.org
    """
    from app.registry import CHAMPION, Registry

    output, registry, options = Output(as_json=json), Registry(Home.from_env()), parse_options(set_options or ())
    found = registry.resolve(version)
    scale = Scale(
        replicas=Replicas.parse(replicas) if replicas else None,
        threads=threads,
        routers=Replicas.parse(routers) if routers else None,
    )
    if print_config:
        placed = place({}, version=found.version, bundle_uri=found.bundle_uri, aliases=found.aliases)
        typer.echo(document_text(placed, found.name, scale, port, options), nl=False)
        return
    with (
        session(output, serving=True, port=port, keep=True) as running,
        contextlib.closing(ServeClient(running.connection.dashboard_url)) as client,
    ):
        output.say(f"deploying {found.reference}")
        url = put_live(
            client,
            running.home,
            found.name,
            version=found.version,
            bundle_uri=found.bundle_uri,
            aliases=found.aliases,
            port=service_port(client, port),
            scale=scale,
            options=options,
        )
        if CHAMPION not in found.aliases:
            registry.promote(found, CHAMPION, who="manta serve", why=f"put live at {url}")
            output.say(f"{found.reference} is now {CHAMPION}")
        dashboard = running.connection.dashboard_url
        output.facts(f"{found.reference} is live", [("service", url), ("dashboard", dashboard)])
        ray_hint(running.connection, output)
    output.next_commands(
        f"manta predict IMAGE --url {url}",
        f"curl -s {url}/model/info",
        "manta deploy VERSION --weight 10",
        "manta down",
    )
    output.result({"version": found.reference, "url": url, "dashboard_url": dashboard})


def document_text(
    champion: TrafficVersion, model: str, scale: Scale, port: int | None, options: Mapping[str, Any]
) -> str:
    """The Serve config as YAML: what would be deployed on the running service, or on a new one."""
    state = None
    with contextlib.suppress(ClusterError), contextlib.closing(_client()) as client:
        state = client.state()
    live = (state.traffic if state else None) or TrafficFile()
    traffic = replaced(live, model, champion).after(live)
    router = configured(router_application(), scale, options)
    applications = [
        control_application(),
        with_traffic(router, traffic),
        classifier_application(champion, scale),
    ]
    port = port or (state.port if state else None) or DEFAULT_HTTP_PORT
    return yaml.safe_dump(
        build_document(applications, host=http_host(), port=port, grpc_port=grpc_port()), sort_keys=False
    )


def _client() -> ServeClient:
    return ServeClient(connect(Home.from_env()).dashboard_url)
