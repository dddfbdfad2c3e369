"""Verbs that train: train, sweep, distill, prune, retrain."""

from __future__ import annotations

import dataclasses
import shlex
from typing import Any

import typer
from rich.table import Table

from app.architecture_names import require_architecture
from app.cli.job_results import accuracy_rows, file_rows, mlflow_command
from app.cli.job_settings import Shown, absolute, prepared, resumable, typed
from app.cli.output import Output
from app.cli.session import session
from app.options import to_argv, with_options
from app.search_space import architectures, parse_space, read_files
from app.settings import DistillSettings, PruneSettings, RetrainSettings, SweepSettings, TrainSettings, short
from cluster.jobs import git_commit


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainCommand(TrainSettings, Shown):
    pass


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepCommand(SweepSettings, Shown):
    pass


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistillCommand(DistillSettings, Shown):
    pass


@dataclasses.dataclass(frozen=True, kw_only=True)
class PruneCommand(PruneSettings, Shown):
    pass


@dataclasses.dataclass(frozen=True, kw_only=True)
class RetrainCommand(RetrainSettings, Shown):
    pass


def add_to(app: typer.Typer) -> None:
    app.command("train")(with_options(TrainCommand)(train))
    app.command("sweep")(with_options(SweepCommand)(sweep))
    app.command("distill")(with_options(DistillCommand)(distill))
    app.command("prune")(with_options(PruneCommand)(prune))
    app.command("retrain")(with_options(RetrainCommand)(retrain))


def train(settings: TrainCommand) -> None:
    """Train on labelled images and register a version.

    Ray Train, then the best checkpoint by validation accuracy as ONNX that passed its gates.

    Example: manta train --data photos/ --epochs 20 --workers 2
    """
    run_training("train_jobs.train", settings, TrainSettings)


def sweep(settings: SweepCommand) -> None:
    """Try many settings and keep the best as a recipe.

    Ray Tune runs the trials at once, and stops those that lag behind (ASHA). --space says what is varied.

    Example: manta sweep --data digits --trials 8 --space lr=log:0.001:0.05 --space model=custom_cnn,mobile
    """
    output = Output(as_json=settings.json)
    settings = dataclasses.replace(prepared(settings), space=read_files(settings.space))
    for name in architectures(parse_space(settings.space, settings), settings):
        require_architecture(name)
    with session(output) as running, resumable(settings, running.home.sweeps, output):
        result = running.run_job("train_jobs.sweep", to_argv(settings, SweepSettings), output)
    show_sweep(result, settings, output)
    output.result(result)


def show_sweep(result: dict[str, Any], settings: SweepSettings, output: Output) -> None:
    table = Table("validation", "epochs", "parameters", "latency", "seconds", box=None, pad_edge=False)
    table.add_column("settings", no_wrap=True)
    for row in result["trials"]:
        chosen = "  ".join(f"{name}={short(value)}" for name, value in row["settings"].items())
        if row["val_accuracy"] is None:
            table.add_row("failed", "", "", "", "", f"{chosen}  {row['reason']}")
            continue
        table.add_row(
            f"{row['val_accuracy']:.2%}",
            f"{row['epochs']}{' (stopped)' if row['status'] == 'stopped' else ''}",
            f"{row['parameters']:,}",
            f"{row['latency_ms']:.2f} ms",
            f"{row['seconds']:.1f}",
            chosen,
        )
    output.table(table)
    output.facts(result["sweep"], [(name, result[name]) for name in ("recipe", "report", "plot")])
    data = settings.data if not settings.resume else result["data"]
    output.next_commands(shlex.join(["manta", "train", "--data", data, "--recipe", result["recipe"]]))


def distill(settings: DistillCommand) -> None:
    """Train a student on the answers of a registered version.

    Any architecture learns from any version of the same classes and input size.

    Example: manta distill photos@champion --model mobile --epochs 40
    """
    run_training("train_jobs.distill", settings, DistillSettings)


def prune(settings: PruneCommand) -> None:
    """Make a registered version smaller and faster, and fine-tune what is left.

    Whole channels go, so that the exported graph is narrower; what is left learns from the whole network's answers.

    Example: manta prune photos@champion --remove 0.5 --epochs 10
    """
    run_training("train_jobs.prune", settings, PruneSettings)


def retrain(settings: RetrainCommand) -> None:
    """Train a version anew on the images there are now, and put the new one on trial beside it.

    It is trained as the version was, must not be worse on the test images of now, beyond what chance explains, and
    then answers a share of the users; `manta ab` compares the two on feedback. With --if-drifted and --automatic it can
    be run every night: nothing is trained without drift, without new images, or while another version is on trial.
    --automatic is for services whose feedback comes from people you trust: POST /feedback asks for no token.

    Example: manta retrain photos@champion --data photos.zip --if-drifted --automatic
    """
    output = Output(as_json=settings.json)
    settings = dataclasses.replace(settings, data=absolute(settings.data), git_commit=git_commit(), command=typed())
    with session(output) as running, resumable(TrainSettings(command=settings.command), running.home.runs, output):
        result = running.run_job("train_jobs.retrain", to_argv(settings, RetrainSettings), output)
    if not result["retrained"]:
        output.next_commands("manta drift", f"manta retrain {settings.version}")
        output.result(result)
        return
    show_trained(result, output)
    compared = result["compared"]
    output.facts(
        "instead of " + result["replaces"],
        [
            (
                "accuracy on the same images",
                f"{compared['new']:.2%} against {compared['former']:.2%} ({compared['images']:,} images)",
            ),
            ("drift", "; ".join(result["drift"]) or "not asked about"),
            (
                "on trial",
                f"{result['deployed']} at {settings.weight:g} %"
                if result["deployed"]
                else f"no: {result['not_deployed']}",
            ),
        ],
    )
    if result["deployed"]:
        output.next_commands("manta ab", f"manta promote {result['deployed']}", f"manta undeploy {result['deployed']}")
    else:
        output.next_commands(f"manta deploy {result['version']} --weight 10", f"manta serve {result['version']}")
    output.result(result)


def run_training(
    module: str, settings: TrainCommand | DistillCommand | PruneCommand, kind: type[TrainSettings]
) -> None:
    """Runs a job that ends with a registered version. kind: the settings that it takes."""
    output = Output(as_json=settings.json)
    settings = prepared(settings)
    with session(output) as running, resumable(settings, running.home.runs, output):
        result = running.run_job(module, to_argv(settings, kind), output)
    show_trained(result, output)
    output.next_commands(
        f"manta evaluate {result['version']}", f"manta serve {result['version']}", mlflow_command(result)
    )
    output.result(result)


def show_trained(result: dict[str, Any], output: Output) -> None:
    output.facts(
        result["version"],
        [
            *accuracy_rows(result),
            *file_rows(result),
            ("validation accuracy", f"{result['val_accuracy']:.2%}"),
            ("training", f"{result['seconds']['train']:.1f} s, {result['epochs']} epochs"),
            ("curves", result["curves"]),
        ],
    )
