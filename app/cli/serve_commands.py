"""The verb that puts a version live: serve."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from app.cli.cluster_commands import Json, ray_hint
from app.cli.output import Output
from app.cli.session import session
from app.config import Home
from app.replicas import Replicas
from app.service_options import ServiceOptions, parse_options
from app.traffic_file import TrafficFile
from cluster import local
from cluster.connection import connect, named_address
from cluster.deployment import plan_change, put_live, service_address, with_champion
from cluster.serve_client import ServeClient, ServeState
from cluster.serve_document import ROUTER, Scale, with_traffic

if TYPE_CHECKING:
    from app.registry import ModelVersion


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
    variant: Annotated[
        str | None,
        typer.Option(
            help="Which graph of the bundle: fp32, int8, fp16. Unless given, fp32, or what the champion runs where it "
            "is this version."
        ),
    ] = None,
    set_options: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help=f"A service option, which stays until it is set again: {', '.join(ServiceOptions.model_fields)}.",
        ),
    ] = None,
    print_config: Annotated[
        bool,
        typer.Option(
            "--print-config",
            help="Print the Serve config YAML that this arrives at, for `serve deploy`, and do nothing else.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Put a version live and make it the champion.

    It takes all traffic, on the running cluster or on one that is started and stays up. A service that runs
    changes to it without losing a request, and `manta serve` with the former version changes back. Of the
    version that is the champion already only replicas, threads and options change, and its graph where another
    variant is given. The promotion is logged.
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
        state = running_state(Home.from_env())
        typer.echo(document_text(state, found, variant or variant_of(state, found), scale, port, options), nl=False)
        return
    with (
        session(output, serving=True, port=port, keep=True) as running,
        contextlib.closing(ServeClient(running.connection.dashboard_url)) as client,
    ):
        variant = variant or variant_of(client.state(), found)
        output.say(f"deploying {found.reference}" + ("" if variant == "fp32" else f", {variant}"))
        url = put_live(
            client,
            running.home,
            found.name,
            version=found.version,
            bundle_uri=found.bundle_uri,
            variant=variant,
            aliases=found.aliases,
            port=port,
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


def running_state(home: Home) -> ServeState:
    """What runs on the cluster that is named or was started; nothing where there is none. Raises ClusterError."""
    if named_address() is None and local.find(home) is None:
        return ServeState(host=None, port=None, applications={})
    with contextlib.closing(ServeClient(connect(home).dashboard_url)) as client:
        return client.state()


def variant_of(state: ServeState, version: ModelVersion) -> str:
    """The graph of this version that the champion runs; fp32 where the champion is another."""
    traffic = state.traffic or TrafficFile()
    live = traffic.champion
    if live is None or (traffic.model, live.version, live.bundle_uri) != (
        version.name,
        version.version,
        version.bundle_uri,
    ):
        return "fp32"
    return live.variant


def document_text(
    state: ServeState,
    version: ModelVersion,
    variant: str,
    scale: Scale,
    port: int | None,
    options: Mapping[str, Any],
) -> str:
    """The Serve config as YAML that `manta serve` arrives at from this state: what was set of it before stays."""
    before = state.traffic or TrafficFile()
    traffic = with_champion(
        before,
        state.declared,
        version.name,
        version=version.version,
        bundle_uri=version.bundle_uri,
        variant=variant,
        aliases=version.aliases,
    )
    plan = plan_change(state, traffic.after(before), scale, options, version.version)
    router = with_traffic(plan.after[ROUTER], plan.traffic_after)
    document = service_address(state, port).document({**plan.after, ROUTER: router}.values())
    return yaml.safe_dump(document, sort_keys=False)
