"""The verbs that change who answers on a running service: deploy, undeploy, traffic, promote, rollback, ab."""

from __future__ import annotations

import getpass
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.table import Table

from app.cli.cluster_commands import Json
from app.cli.output import Output
from app.cli.running_service import Url, admin_client
from app.config import Home
from app.errors import BadInput

Why = Annotated[str, typer.Option(help="For the log of decisions.")]


def add_to(app: typer.Typer) -> None:
    for command in (deploy, undeploy, traffic, promote, rollback, ab):
        app.command()(command)


def deploy(
    version: Annotated[str, typer.Argument(help="name/3 or name@alias.")],
    weight: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=100,
            help="Percent of the users that it answers; the champion has the rest. Unless given, what it has already.",
        ),
    ] = None,
    shadow: Annotated[
        float | None, typer.Option(help="Share of the requests, above 0 to 1, that it is asked a copy of, unseen.")
    ] = None,
    automatic: Annotated[
        bool | None,
        typer.Option(
            help="Once feedback has decided, it becomes the champion, or is taken down, without asking anybody.",
            show_default=False,
        ),
    ] = None,
    variant: Annotated[str, typer.Option(help="Which graph of the bundle: fp32, int8, fp16.")] = "fp32",
    replicas: Annotated[
        str | None, typer.Option(help="Classifier replicas; 1:4 follows the load.", metavar="N|MIN:MAX")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="ONNX Runtime threads of each replica.")] = None,
    why: Why = "",
    url: Url = None,
    json: Json = False,
) -> None:
    """Start a version beside the champion, with a share of the traffic, as its shadow, or on standby.

    It is loaded, warmed and checked before it answers anybody, and refused when its classes or its input differ
    from the champion's. One that runs already gets the replicas and threads that are given.

    Example: manta deploy digits/3 --weight 10
    """
    from app.registry import Registry

    output = Output(as_json=json)
    if shadow is not None:
        _check_copies(shadow)
    found = Registry(Home.from_env()).resolve(version)
    values = {
        "version": found.version,
        "bundle_uri": found.bundle_uri,
        "model": found.name,
        "variant": variant,
        "weight": weight,
        "shadow": shadow,
        "automatic": automatic,
        "replicas": replicas,
        "threads": threads,
    }
    output.say(f"deploying {found.reference}")
    _change("deploy", values, why, url, output)
    output.next_commands("manta ab", f"manta promote {found.version}", f"manta undeploy {found.version}")


def undeploy(
    version: Annotated[str, typer.Argument(help="A deployed version's number, 3 or name/3.")],
    why: Why = "",
    url: Url = None,
    json: Json = False,
) -> None:
    """Take a version down. Its users go to the champion first, and what it began it still answers.

    Example: manta undeploy 3
    """
    output = Output(as_json=json)
    _change("undeploy", _named(version), why, url, output)
    output.next_commands("manta traffic")


def traffic(
    shares: Annotated[
        list[str] | None, typer.Argument(metavar="[VERSION=PERCENT]...", help="Shares of challengers to set.")
    ] = None,
    shadow: Annotated[
        str | None, typer.Option(help="VERSION or VERSION=SHARE that is asked copies; `off` ends it.")
    ] = None,
    quality: Annotated[
        Path | None, typer.Option(help="YAML file with a `quality` block, as `manta cascade` writes it.")
    ] = None,
    why: Why = "",
    url: Url = None,
    json: Json = False,
) -> None:
    """Show who answers, or change it in place: nothing restarts and no request is lost.

    A ramp moves only the users it must: those who have the challenger keep it.

    Example: manta traffic 3=25
    """
    output = Output(as_json=json)
    changes: list[tuple[str, Mapping[str, Any]]] = []
    if shares:
        changes.append(("weights", _shares(shares)))
    if shadow is not None:
        changes.append(("shadow", _shadow(shadow)))
    if quality is not None:
        changes.append(("quality", {"quality": _quality(quality)}))
    if not changes:
        with admin_client(url) as client:
            _show(client.get("traffic"), output)
    for place, (kind, values) in enumerate(changes):
        _change(kind, values, why, url, output, last=place == len(changes) - 1)
    output.next_commands("manta ab", "manta promote VERSION", "manta rollback")


def promote(
    version: Annotated[str, typer.Argument(help="A deployed version's number, 3 or name/3.")],
    why: Why = "",
    url: Url = None,
    json: Json = False,
) -> None:
    """Make a deployed version the champion. The former one stays on standby, so `manta rollback` takes no time.

    Example: manta promote 3 --why "2 points better on feedback"
    """
    output = Output(as_json=json)
    _change("promote", _named(version), why, url, output)
    output.next_commands("manta rollback", "manta traffic")


def rollback(why: Why = "", url: Url = None, json: Json = False) -> None:
    """Go back to the champion before this one.

    Example: manta rollback --why "complaints about class 4"
    """
    output = Output(as_json=json)
    _change("rollback", {}, why, url, output)
    output.next_commands("manta traffic", "manta versions")


def ab(url: Url = None, json: Json = False) -> None:
    """Compare champion and challengers on the feedback so far. It may be looked at all the time.

    The test is always valid: in at most 5 % of all comparisons it ever claims a difference that is not there, however
    often one looks.

    Example: manta ab
    """
    output = Output(as_json=json)
    with admin_client(url) as client:
        comparison = client.get("ab")
    table = Table("version", "traffic", "feedback", "accuracy", "verdict", "more answers", box=None, pad_edge=False)
    champion = comparison["champion"]
    percent = comparison["percent"]
    table.add_row(*_arm(champion, percent), "champion", "")
    for contrast in comparison["contrasts"]:
        remaining = contrast["remaining"]
        more = "" if remaining == 0 else "unknown" if remaining is None else f"about {remaining:,}"
        table.add_row(*_arm(contrast["challenger"], percent), contrast["summary"], more)
    output.table(table)
    if comparison["until"] is not None:
        ended = datetime.fromtimestamp(comparison["until"], UTC).astimezone()
        output.say(f"this test ended on {ended:%Y-%m-%d at %H:%M:%S}; none runs now")
    output.next_commands("manta promote VERSION", "manta traffic VERSION=PERCENT", "manta undeploy VERSION")
    output.result(comparison)


def _arm(arm: Mapping[str, Any], percent: Mapping[str, float]) -> tuple[str, str, str, str]:
    low, high = arm["interval"]["low"], arm["interval"]["high"]
    accuracy = "" if arm["accuracy"] is None else f"{arm['accuracy']:.2%} ({low:.2%} to {high:.2%})"
    return arm["name"], f"{percent.get(arm['name'], 0.0):g} %", f"{arm['n']:,}", accuracy


def _change(
    kind: str, values: Mapping[str, Any], why: str, url: str | None, output: Output, *, last: bool = True
) -> None:
    def say(statuses: Mapping[str, str]) -> None:
        output.say(", ".join(f"{name} is {status}" for name, status in statuses.items()))

    with admin_client(url) as client:
        done = client.change(kind, {**values, "who": f"manta, {getpass.getuser()}", "why": why}, on_progress=say)
    if warning := done.get("warning"):
        output.say(warning)
    if last:
        _show(done, output)


def _show(answer: Mapping[str, Any], output: Output) -> None:
    file, percent = answer["traffic"], answer["percent"]
    shadow, quality = file["shadow"], file["quality"]
    table = Table("version", "traffic", "aliases", "variant", "also", box=None, pad_edge=False)
    for version in file["versions"]:
        name = version["version"]
        also = ["feedback decides"] if version["automatic"] and percent[name] else []
        also += [f"shadow of {shadow['share']:.0%}"] if shadow and shadow["version"] == name else []
        also += [key for key in ("fast", "accurate") if quality[key] == name]
        also += [f"auto, {key}" for key in ("fast", "accurate") if quality["auto"] and quality["auto"][key] == name]
        also += ["ensemble"] if quality["ensemble"] and name in quality["ensemble"] else []
        table.add_row(name, f"{percent[name]:g} %", ", ".join(version["aliases"]), version["variant"], ", ".join(also))
    output.say(f"\n{file['model']}, revision {file['revision']}")
    output.table(table)
    for router in answer.get("routers", ()):
        for version, reason in router["taken_out"].items():
            output.say(f"version {version} fails and gets no traffic for now: {reason}")
        if router["problem"]:
            output.say(f"a router is still at revision {router['revision']}: {router['problem']}")
    output.result(dict(answer))


def _named(version: str) -> dict[str, Any]:
    """The fields of a change of this version. The service checks a name in front: it has one model."""
    model, _, number = version.removeprefix("models:/").rpartition("/")
    return {"version": number, **({"model": model} if model else {})}


def _shares(texts: Sequence[str]) -> dict[str, Any]:
    """The fields of a change of shares. Raises BadInput for what is no share, and for versions of several models."""
    percents: dict[str, float] = {}
    models: set[str] = set()
    for text in texts:
        version, _, percent = text.partition("=")
        named = _named(version)
        try:
            percents[named["version"]] = float(percent.removesuffix("%"))
        except ValueError:
            raise BadInput(f"{text!r} is no share: write VERSION=PERCENT, as in 3=10") from None
        if "model" in named:
            models.add(named["model"])
    if len(models) > 1:
        raise BadInput(f"a service has versions of one model, not of {' and '.join(sorted(models))}")
    return {"percent": percents, **({"model": models.pop()} if models else {})}


def _shadow(text: str) -> dict[str, Any]:
    if text == "off":
        return {"version": None}
    version, _, share = text.partition("=")
    try:
        copied = float(share or 1)
    except ValueError:
        raise BadInput(f"{text!r} is no shadow: write VERSION or VERSION=SHARE, as in 3=0.1") from None
    _check_copies(copied)
    return {**_named(version), "share": copied}


def _check_copies(share: float) -> None:
    """Raises BadInput for what is no share of the requests to copy."""
    if not 0 < share <= 1:
        raise BadInput(
            f"a shadow's share is above 0 and at most 1, not {share:g}; `manta traffic --shadow off` ends it"
        )


def _quality(path: Path) -> Any:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        return values["quality"]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise BadInput(f"{path} has no `quality` block: {error}") from error
