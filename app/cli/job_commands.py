"""Verbs that run a Ray job: pipeline, train, sweep, distill, convert, evaluate."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import typer
from rich.table import Table

from app.cli.output import Output, size_text
from app.cli.session import Session, session
from app.config import DEFAULT_HTTP_PORT, http_host
from app.errors import ClusterError
from app.options import to_argv, with_options
from app.search_space import read_files
from app.settings import (
    ConvertSettings,
    DataSettings,
    DistillSettings,
    EvaluateSettings,
    PipelineSettings,
    RunSettings,
    SweepSettings,
    TrainSettings,
    default_run_name,
    short,
)
from cluster.connection import named_address
from cluster.jobs import git_commit
from cluster.ports import check_port_free
from cluster.serve_client import ServeClient

T = TypeVar("T", bound=RunSettings)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shown:
    """Fields that every job's command adds."""

    json: bool = False
    """Print one JSON object on stdout and nothing else; progress goes to stderr."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PipelineCommand(PipelineSettings, Shown):
    keep: bool = False
    """Leave the service up; `manta down` ends it. Otherwise everything that was started is stopped again."""


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
class ConvertCommand(ConvertSettings, Shown):
    pass


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateCommand(EvaluateSettings, Shown):
    pass


def add_to(app: typer.Typer) -> None:
    app.command("pipeline")(with_options(PipelineCommand)(pipeline))
    app.command("train")(with_options(TrainCommand)(train))
    app.command("sweep")(with_options(SweepCommand)(sweep))
    app.command("distill")(with_options(DistillCommand)(distill))
    app.command("convert")(with_options(ConvertCommand)(convert))
    app.command("evaluate")(with_options(EvaluateCommand)(evaluate))


def pipeline(settings: PipelineCommand) -> None:
    """Images to a live endpoint, checked over HTTP.

    Trains, converts to ONNX, registers the version as champion, serves it, and sends it the test split.

    Example: manta pipeline --data photos.zip --epochs 20 --keep
    """
    output = Output(as_json=settings.json)
    settings = prepared(settings)
    with session(output, serving=True, port=settings.port, keep=settings.keep) as running:
        was_served = check_port(running, settings.port)
        try:
            with resumable(settings, running.home.runs, output):
                result = running.run_job("train_jobs.pipeline", to_argv(settings, PipelineSettings), output)
        finally:
            if not (settings.keep or was_served or running.started_here):
                end_service(running)
    show_pipeline(result, output, kept=settings.keep or was_served)
    output.result(result)


def train(settings: TrainCommand) -> None:
    """Train on labelled images and register a version.

    Ray Train, then the best checkpoint by validation accuracy as ONNX that passed its gates.

    Example: manta train --data photos/ --epochs 20 --workers 2
    """
    output = Output(as_json=settings.json)
    settings = prepared(settings)
    with session(output) as running, resumable(settings, running.home.runs, output):
        result = running.run_job("train_jobs.train", to_argv(settings, TrainSettings), output)
    show_trained(result, output)
    output.result(result)


def sweep(settings: SweepCommand) -> None:
    """Try many settings and keep the best as a recipe.

    Ray Tune runs the trials at once, and stops those that lag behind (ASHA). --space says what is varied.

    Example: manta sweep --data digits --trials 8 --space lr=log:0.001:0.05 --space model=custom_cnn,mobile
    """
    output = Output(as_json=settings.json)
    settings = dataclasses.replace(prepared(settings), space=read_files(settings.space))
    with session(output) as running, resumable(settings, running.home.sweeps, output):
        result = running.run_job("train_jobs.sweep", to_argv(settings, SweepSettings), output)
    show_sweep(result, settings, output)
    output.result(result)


def show_sweep(result: dict[str, Any], settings: SweepSettings, output: Output) -> None:
    table = Table(
        "validation", "epochs", "parameters", "latency", "seconds", "trial", "settings", box=None, pad_edge=False
    )
    for row in result["trials"]:
        chosen = "  ".join(f"{name}={short(value)}" for name, value in row["settings"].items())
        if row["val_accuracy"] is None:
            table.add_row("failed", "", "", "", "", row["trial"], f"{chosen}  {row['reason']}")
            continue
        table.add_row(
            f"{row['val_accuracy']:.2%}",
            f"{row['epochs']}{' (stopped)' if row['status'] == 'stopped' else ''}",
            f"{row['parameters']:,}",
            f"{row['latency_ms']:.2f} ms",
            f"{row['seconds']:.1f}",
            row["trial"],
            chosen,
        )
    output.table(table)
    output.facts(result["sweep"], [(name, result[name]) for name in ("recipe", "report", "plot")])
    data = settings.data if not settings.resume else result["data"]
    output.next_commands(shlex.join(["manta", "train", "--data", data, "--recipe", result["recipe"]]))


def distill(settings: DistillCommand) -> None:
    """Train a student on the answers of a registered version.

    Any architecture learns from any version of the same classes and input size.

    Example: manta distill photos@champion --data photos/ --model mobile --epochs 40
    """
    output = Output(as_json=settings.json)
    settings = prepared(settings)
    with session(output) as running, resumable(settings, running.home.runs, output):
        result = running.run_job("train_jobs.distill", to_argv(settings, DistillSettings), output)
    show_trained(result, output)
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
    output.next_commands(
        f"manta evaluate {result['version']}", f"manta serve {result['version']}", mlflow_command(result)
    )


def convert(settings: ConvertCommand) -> None:
    """Make a new gated bundle of a version or a run.

    Example: manta convert digits/1
    """
    output = Output(as_json=settings.json)
    settings = dataclasses.replace(settings, data=absolute(settings.data), git_commit=git_commit())
    with session(output) as running:
        result = running.run_job("train_jobs.convert", to_argv(settings, ConvertSettings), output)
    output.facts(result["version"], [*accuracy_rows(result), *file_rows(result)])
    output.next_commands(f"manta evaluate {result['version']}", f"manta serve {result['version']}")
    output.result(result)


def evaluate(settings: EvaluateCommand) -> None:
    """Measure a version class by class on held-out images.

    Example: manta evaluate digits@champion --split val
    """
    output = Output(as_json=settings.json)
    settings = dataclasses.replace(settings, data=absolute(settings.data))
    with session(output) as running:
        result = running.run_job("train_jobs.evaluate", to_argv(settings, EvaluateSettings), output)
    output.next_commands(f"manta serve {result['version']}", "manta versions")
    output.result(result)


def prepared(settings: T) -> T:
    """With everything a job cannot know by itself: absolute data path, run name, git commit.

    Raises BadDataset right away for data that is unusable, where this machine is the one that will read it.
    """
    if settings.resume:
        return dataclasses.replace(settings, git_commit=git_commit(), command=shlex.join(["manta", *sys.argv[1:]]))
    data = absolute(settings.data) or settings.data
    run = settings.run
    if named_address() is None:
        from app.datasets import check_source

        run = run or default_run_name(check_source(data).name)
    return dataclasses.replace(
        settings, data=data, run=run, git_commit=git_commit(), command=shlex.join(["manta", *sys.argv[1:]])
    )


def absolute(data: str | None) -> str | None:
    """A job's working directory is not the user's, so paths travel as absolute ones."""
    if data is None or data in DataSettings.BUILT_IN:
        return data
    return str(Path(data).expanduser().absolute())


def check_port(running: Session, port: int | None) -> bool:
    """Whether a service already runs on this cluster. Raises PortInUse, or ClusterError when it has another port."""
    with contextlib.closing(ServeClient(running.connection.dashboard_url)) as client:
        state = client.state()
    if state.port is None:
        if running.connection.local is not None:
            check_port_free(http_host(), port or DEFAULT_HTTP_PORT)
        return False
    if port not in (None, state.port):
        raise ClusterError(f"this cluster already serves on port {state.port}; leave out --port, or `manta down` first")
    return bool(state.applications)


def end_service(running: Session) -> None:
    with contextlib.closing(ServeClient(running.connection.dashboard_url)) as client:
        client.shutdown()


@contextlib.contextmanager
def resumable(settings: RunSettings, folder: Path, output: Output) -> Iterator[None]:
    """On Ctrl-C says how to go on, when there is something to go on from.

    folder: where runs, or sweeps, of this home lie.
    """
    try:
        yield
    except KeyboardInterrupt:
        name = settings.resume or settings.run
        verb, kept = ("sweep", "sweep.json") if isinstance(settings, SweepSettings) else ("train", "history.json")
        if name and (folder / name / kept).is_file():
            output.say(f"\ninterrupted; the finished epochs are kept. Go on with: manta {verb} --resume {name}")
        else:
            output.say("\ninterrupted before the first epoch was finished; nothing is kept")
        raise


def show_pipeline(result: dict[str, Any], output: Output, *, kept: bool) -> None:
    latency, seconds = result["latency_ms"], result["seconds"]
    output.facts(
        f"{result['version']} ({', '.join(result['aliases'])})",
        [
            *accuracy_rows(result),
            *file_rows(result),
            ("validation accuracy", f"{result['val_accuracy']:.2%}"),
            ("HTTP latency, one client", f"p50 {latency['p50']:.1f} ms, p99 {latency['p99']:.1f} ms"),
            (
                "seconds",
                f"train {seconds['train']:.1f}, convert {seconds['convert']:.1f}, "
                f"serve {seconds['serve']:.1f}, total {seconds['total']:.1f}",
            ),
            ("artifacts", result["artifacts"]),
            ("curves", result["curves"]),
            ("MLflow runs", result["tracking_uri"]),
            ("service", f"{result['url']} ({'up' if kept else 'stopped again; --keep leaves it up'})"),
        ],
    )
    if kept:
        commands = [
            f"curl -s {result['url']}/predict -H 'Content-Type: image/png' --data-binary @IMAGE.png",
            f"open {result['url']}/docs",
            "manta status",
            "manta down",
        ]
    else:
        commands = [f"manta serve {result['version']}", f"manta evaluate {result['version']}", "manta versions"]
    output.next_commands(*commands, mlflow_command(result))


def accuracy_rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    names = {"pytorch": "PyTorch model", "onnx": "ONNX file", "http": "over HTTP"}
    rows = [(f"test accuracy, {names[key]}", f"{value:.2%}") for key, value in result["test_accuracy"].items()]
    if result.get("test_accuracy_tta") is not None:
        rows.append(("with test-time augmentation", f"{result['test_accuracy_tta']:.2%}"))
    return rows


def file_rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    fp32 = result["variants"][0]
    latency = ", ".join(f"{value:.2f} ms at batch {size}" for size, value in fp32["latency_ms"].items())
    return [
        ("ONNX file size", size_text(fp32["bytes"])),
        ("largest difference from PyTorch", f"{fp32['max_error']:.1e}"),
        ("ONNX Runtime, one thread", latency),
    ]


def mlflow_command(result: dict[str, Any]) -> str:
    return f"mlflow ui --backend-store-uri {result['tracking_uri']}"
