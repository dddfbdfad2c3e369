"""The verb that says whether live traffic is still what a model was made for: drift."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer
from rich.table import Table

from app.cli.cluster_commands import Json
from app.cli.output import Output
from app.cli.running_service import Url, admin_client


def add_to(app: typer.Typer) -> None:
    app.command()(drift)


def drift(url: Url = None, json: Json = False) -> None:
    """Compare live traffic with the images the champion was measured on.

    Predicted classes, confidence, and how bright, contrasty, colourful and sharp images are; and, where users sent
    feedback, the accuracy. What drifts is among the decisions and in the metrics too.

    Example: manta drift
    """
    output = Output(as_json=json)
    with admin_client(url) as client:
        found = client.get("drift")
    minutes = (found["until"] - found["since"]) / 60
    output.say(
        f"{found['model']}/{found['version']}: {found['images']:,} images of the last {minutes:,.0f} minutes, against "
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
    if not found["drifted"]:
        few = found["images"] < found["fewest_images"]
        output.say(f"too few images yet, {found['fewest_images']:,} are needed" if few else "no drift")
    for line in found["summary"]:
        output.say(f"drift: {line}")
    output.next_commands("manta traffic", "manta ab")
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
