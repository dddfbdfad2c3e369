"""Verbs that look at a running service: monitor, drift."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from app.admin_client import AdminClient
from app.cli.cluster_commands import Json
from app.cli.output import Output
from app.cli.running_service import Url, admin_client
from app.errors import BadInput, ClusterError
from app.live_figures import Look, Totals, between, read

_SHOWN_DECISIONS = 5


def add_to(app: typer.Typer) -> None:
    app.command()(monitor)
    app.command()(drift)


def monitor(
    seconds: Annotated[
        float, typer.Option(min=1, max=600, help="Between two looks: what the rates and latencies are of.")
    ] = 5.0,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until Ctrl-C, a table every so many seconds.")] = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Show how the service does right now: load, errors and latency by version, drift, decisions.

    Example: manta monitor --watch
    """
    if watch and json:
        raise BadInput("--json is for one look: leave out --watch")
    output = Output(as_json=json)
    with admin_client(url) as client:
        before, began = read(client.metrics()), time.monotonic()
        while True:
            time.sleep(seconds)
            try:
                after, now = read(client.metrics()), time.monotonic()
                seen = _seen(client, before, after, now - began)
            except ClusterError as error:
                if not watch:
                    raise
                output.say(f"{datetime.now():%H:%M:%S}  {error}")  # the service may be about to come back
                continue
            _show_monitor(seen, output)
            if not watch:
                break
            before, began = after, now
    output.next_commands("manta drift", "manta ab", "manta traffic")
    output.result(seen)


def _seen(client: AdminClient, before: Totals, after: Totals, elapsed_s: float) -> dict[str, Any]:
    answer = client.get("traffic")

    def figures(version: str) -> dict[str, Any]:
        earlier, later = (totals.versions.get(version, Look()) for totals in (before, after))
        return dataclasses.asdict(between(earlier, later, elapsed_s))

    return {
        "model": answer["traffic"]["model"],
        "revision": answer["traffic"]["revision"],
        "seconds": elapsed_s,
        "versions": [
            {
                "version": each["version"],
                "aliases": each["aliases"],
                "percent": answer["percent"][each["version"]],
                **figures(each["version"]),
            }
            for each in answer["traffic"]["versions"]
        ],
        "problems": [each["problem"] for each in answer["routers"] if each["problem"]],
        "taken_out": {name: why for each in answer["routers"] for name, why in each["taken_out"].items()},
        "drifting": list(after.drifting),
        "drift_images": after.drift_images,
        "decisions": client.get("decisions")[:_SHOWN_DECISIONS],
    }


def _show_monitor(seen: Mapping[str, Any], output: Output) -> None:
    output.say(f"\n{seen['model']}, revision {seen['revision']}, {datetime.now():%H:%M:%S}")
    table = Table(box=None, pad_edge=False)
    table.add_column("version")
    for name in ("traffic", "requests/s", "failed", "p50", "p99", "waiting", "replicas"):
        table.add_column(name, justify="right")
    table.add_column("aliases")
    for each in seen["versions"]:
        table.add_row(
            each["version"],
            f"{each['percent']:g} %",
            f"{each['requests_per_s']:,.1f}",
            "" if each["failed"] is None else f"{each['failed']:.1%}",
            *("" if each[name] is None else f"{each[name]:.3g} ms" for name in ("p50_ms", "p99_ms")),
            str(each["waiting"]),
            str(each["replicas"]),
            ", ".join(each["aliases"]),
        )
    output.table(table)
    for name, why in seen["taken_out"].items():
        output.say(f"version {name} fails and gets no traffic for now: {why}")
    for line in seen["problems"]:
        output.say(f"a router does not follow: {line}")
    if seen["drift_images"] is None:
        output.say("drift: not looked at yet, or the champion's bundle has nothing to compare with; see `manta drift`")
    else:
        drifting = ", ".join(seen["drifting"]) or "none known"
        output.say(f"drift: {drifting} ({seen['drift_images']:,} images were looked at)")
    for each in reversed(seen["decisions"]):
        at = datetime.fromtimestamp(each["at"], UTC).astimezone()
        why = f": {each['why']}" if each["why"] else ""
        output.say(f"{at:%m-%d %H:%M}  {each['who']}: {each['what']}{why}")


def drift(url: Url = None, json: Json = False) -> None:
    """Compare live traffic with the images the champion was measured on.

    Predicted classes, confidence, and how bright, contrasty, colourful and sharp images are; and, where users sent
    feedback, the accuracy. What drifts is among the decisions and in the metrics too.

    Example: manta drift
    """
    output = Output(as_json=json)
    with admin_client(url) as client:
        found = client.get("drift")
    since = datetime.fromtimestamp(found["since"], UTC).astimezone()
    output.say(
        f"{found['model']}/{found['version']}: {found['images']:,} images since {since:%m-%d %H:%M}, against "
        f"{found['reference_images']:,} held-out ones"
    )
    table = Table("measure", "PSI", "by chance", "most changed", "before", "now", "", box=None, pad_edge=False)
    for measure in found["measures"]:
        table.add_row(*_row(measure, seen=found["images"] > 0))
    output.table(table)
    feedback = found["feedback"]
    if feedback is not None and feedback["n"]:
        output.say(
            f"accuracy on feedback {feedback['accuracy']:.2%} ({feedback['low']:.2%} to {feedback['high']:.2%}, "
            f"{feedback['n']:,} images), {feedback['expected']:.2%} on held-out images"
        )
    few = found["images"] < found["fewest_images"]
    if few:
        output.say(f"too few images yet to tell: {found['fewest_images']:,} are needed")
    elif not found["drifted"]:
        output.say("no drift")
    for line in found["summary"]:
        output.say(f"drift: {line}")
    name = f"{found['model']}/{found['version']}"
    retrain = [f"manta retrain {name} --data DATA"] if found["drifted"] else []
    output.next_commands(*retrain, "manta monitor", "manta ab")
    output.result(found)


def _row(measure: Mapping[str, Any], *, seen: bool) -> tuple[str, ...]:
    if not seen:
        return (measure["name"],)
    most = max(measure["bins"], key=lambda each: abs(each["live"] - each["reference"]))
    return (
        measure["name"],
        f"{measure['psi']:.3f}",
        f"{measure['p_value']:.1e}",
        most["name"],
        f"{most['reference']:.1%}",
        f"{most['live']:.1%}",
        "drift" if measure["drifted"] else "",
    )
