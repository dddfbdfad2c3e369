"""The verb that puts a version live: serve."""

from __future__ import annotations

from typing import Annotated

import typer
import yaml

from app.cli.cluster_commands import Json, ray_hint
from app.cli.output import Output
from app.cli.session import session
from app.config import DEFAULT_HTTP_PORT, Home, http_host
from cluster.deployment import deploy
from cluster.serve_client import ServeClient, wait_until_answering
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
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the HTTP service.")] = DEFAULT_HTTP_PORT,
    replicas: Annotated[int | None, typer.Option(min=1, help="Classifier replicas.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="ONNX Runtime threads of each classifier replica.")] = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the Serve config YAML for `serve deploy` and do nothing else.")
    ] = False,
    json: Json = False,
) -> None:
    """Put a version live behind the router.

    On the running cluster, or on one that is started and stays up. A service that runs already changes
    to this version without losing a request.

    Example: manta serve digits/2 --port 8000
    """
    from app.registry import Registry

    output, home = Output(as_json=json), Home.from_env()
    found = Registry(home).resolve(version)
    served = ServedVersion(version=found.version, bundle_uri=found.bundle_uri, aliases=found.aliases, weight=1.0)
    scale = Scale(replicas=replicas, threads=threads)
    if print_config:
        router = with_traffic(router_application(), Traffic(model=found.name, versions=(served,), revision=1))
        document = build_document([router, classifier_application(served, scale)], host=http_host(), port=port)
        typer.echo(yaml.safe_dump(document, sort_keys=False), nl=False)
        return
    with session(output, port=port, keep=True) as running:
        client = ServeClient(running.connection.dashboard_url)
        output.say(f"deploying {found.reference}")
        deploy(client, found.name, [served], host=http_host(), port=port, scale=scale)
        url = f"http://{'127.0.0.1' if http_host() == '0.0.0.0' else http_host()}:{port}"
        wait_until_answering(url)
        client.close()
        dashboard = running.connection.dashboard_url
        output.facts(f"{found.reference} is live", [("service", url), ("dashboard", dashboard)])
        ray_hint(running.connection, output)
    output.next_commands(f"manta predict IMAGE --url {url}", f"curl -s {url}/model/info", "manta status", "manta down")
    output.result({"version": found.reference, "url": url, "dashboard_url": dashboard})
