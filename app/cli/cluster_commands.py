"""Verbs about the cluster itself: up, down, status."""

from __future__ import annotations

import contextlib
from typing import Annotated, Any

import typer
from rich.table import Table

from app.cli.output import Output
from app.config import Home
from cluster import local
from cluster.connection import Connection, connect, missing_serve_flags, named_address
from cluster.deployment import service_url
from cluster.serve_client import ServeClient, ServeState

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else.")]


def add_to(app: typer.Typer) -> None:
    for command in (up, down, status):
        app.command()(command)


def up(
    dashboard_port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port of the Ray dashboard and job API. Unless given, 8265 or a free one."),
    ] = None,
    num_cpus: Annotated[
        int | None, typer.Option(min=1, help="Logical CPUs. Unless given, this machine's cores.")
    ] = None,
    json: Json = False,
) -> None:
    """Start a local Ray cluster that stays up.

    Example: manta up && manta pipeline --data digits --keep
    """
    output, home = Output(as_json=json), Home.from_env()
    cluster = local.start(home, dashboard_port=dashboard_port, num_cpus=num_cpus)
    output.facts(
        "Ray cluster",
        [
            ("dashboard", cluster.dashboard_url),
            ("logical CPUs", str(cluster.num_cpus)),
            ("home", str(home.root)),
        ],
    )
    ray_hint(connect(home), output)
    output.next_commands("manta pipeline --data digits --keep", "manta status", "manta down")
    output.result({"dashboard_url": cluster.dashboard_url, "gcs_address": cluster.gcs_address, "home": str(home.root)})


def down(json: Json = False) -> None:
    """Stop the local cluster and all that runs on it.

    The registry, all runs and all data stay.

    Example: manta down
    """
    output, home = Output(as_json=json), Home.from_env()
    stopped = local.stop(home)
    output.say("stopped" if stopped else "nothing was running")
    output.next_commands("manta up", "manta versions")
    output.result({"stopped": stopped})


def status(json: Json = False) -> None:
    """Show what runs: cluster, service, versions.

    Example: manta status --json
    """
    output, home = Output(as_json=json), Home.from_env()
    if named_address() is None and local.find(home) is None:
        output.say("no cluster runs")
        output.next_commands("manta up", "manta versions")
        output.result({"dashboard_url": None, "missing_flags": [], "url": None, "traffic": None, "applications": {}})
        return
    connection = connect(home)
    with contextlib.closing(ServeClient(connection.dashboard_url)) as client:
        state = client.state()
    missing = missing_serve_flags(connection)
    output.facts("Ray cluster", cluster_facts(connection, state, missing))
    if state.applications:
        output.table(application_table(state))
    output.next_commands("manta serve NAME/VERSION" if not state.applications else "manta versions", "manta down")
    output.result(
        {
            "dashboard_url": connection.dashboard_url,
            "missing_flags": list(missing),
            "url": url_of(state),
            "traffic": state.traffic.model_dump(mode="json") if state.traffic else None,
            "applications": {name: application.status for name, application in state.applications.items()},
        }
    )


def cluster_facts(connection: Connection, state: ServeState, missing: tuple[str, ...]) -> list[tuple[str, str]]:
    rows = [("dashboard", connection.dashboard_url), ("service", url_of(state) or "not running")]
    if missing:
        rows.append(("slow", f"Ray was started without {', '.join(f'{flag}=1' for flag in missing)}"))
    return rows


def application_table(state: ServeState) -> Table:
    versions: dict[str, Any] = {each.application: each for each in state.traffic.versions} if state.traffic else {}
    table = Table("application", "status", "replicas", "aliases", "weight", "failure", box=None, pad_edge=False)
    for name, application in sorted(state.applications.items()):
        served = versions.get(name)
        table.add_row(
            name,
            application.status,
            str(application.replicas),
            ", ".join(served.aliases) if served else "",
            f"{served.weight:g}" if served else "",
            application.failure,
        )
    return table


def url_of(state: ServeState) -> str | None:
    return service_url(state.host, state.port) if state.port is not None and state.applications else None


def ray_hint(connection: Connection, output: Output) -> None:
    """Ray's own commands (`ray job submit`, `serve status`) need one line in the user's shell."""
    if connection.local is not None:
        output.say(f"\nfor Ray's own commands, once in this shell:\n  {connection.local.exports}")
