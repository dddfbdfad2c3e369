"""The verb about training runs: runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from app.cli.cluster_commands import Json
from app.cli.output import Output
from app.config import Home

if TYPE_CHECKING:
    from app.run_records import RunRecord

NAMES_ONE_RUN = frozenset({"run", "resume", "command", "git_commit"})
"""Recorded with the settings, and of no use in a comparison."""


def add_to(app: typer.Typer) -> None:
    app.command()(runs)


def runs(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="One run: its settings and figures, and a sweep's trials. Several: what differs."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many of the latest to list.")] = 20,
    trials: Annotated[bool, typer.Option("--trials", help="List the trials of sweeps too.")] = False,
    json: Json = False,
) -> None:
    """List training runs, or compare some of them.

    Newest first; a sweep is one line unless --trials is given. `interrupted` means that nobody works on it any more.

    Example: manta runs digits-a digits-b
    """
    from app.run_records import RunRecords

    output, records = Output(as_json=json), RunRecords(Home.from_env())
    if not names:
        found = records.latest(limit, trials=trials)
        show_list(found, records.tracking_uri, output)
    elif len(names) == 1:
        run = records.find(names[0])
        found = [run, *(records.trials(run) if run.kind == "sweep" else [])]
        show_one(run, found[1:], output)
    else:
        found = [records.find(name) for name in dict.fromkeys(names)]
        output.table(comparison(found, differing(found)))
        output.next_commands(*commands_after(found))
    output.result({"runs": [run.to_json() for run in found]})


def show_list(found: Sequence[RunRecord], tracking_uri: str, output: Output) -> None:
    if not found:
        output.say("no run yet")
        output.next_commands("manta train --data digits")
        return
    columns = ("run", "kind", "model", "data", "epochs", "validation", "test", "version", "status", "started", "took")
    table = Table(*columns, box=None, pad_edge=False)
    for run in found:
        table.add_row(
            run.name,
            run.kind,
            run.settings.get("model", ""),
            data_text(run),
            epochs_text(run),
            share_text(run.val_accuracy),
            share_text(run.test_accuracy),
            ", ".join(run.versions),
            run.status,
            f"{run.started:%Y-%m-%d %H:%M} UTC",
            duration_text(run.seconds),
        )
    output.table(table)
    newest = " ".join(run.name for run in found[:2])
    mlflow = f"mlflow ui --backend-store-uri {tracking_uri}"
    output.next_commands(*commands_after(found), f"manta runs {newest}", mlflow)


def show_one(run: RunRecord, trials: Sequence[RunRecord], output: Output) -> None:
    """All that is known of a run, or a sweep with its trials from the best to the worst."""
    figures = [(name, text(run)) for name, text in FIGURES.items()]
    settings = [(name, value) for name, value in run.settings.items() if value not in ("", "None")]
    output.facts(run.name, [(name, value) for name, value in figures if value])
    output.facts("settings", settings)
    if trials:
        varied = differing(trials)
        table = Table("trial", "validation", "epochs", "status", *varied, box=None, pad_edge=False)
        for trial in trials:
            values = (trial.settings.get(name, "") for name in varied)
            table.add_row(trial.name, share_text(trial.val_accuracy), epochs_text(trial), trial.status, *values)
        output.say("")
        output.table(table)
    output.next_commands(*commands_after([run]), *compare_best(trials), "manta runs")


def comparison(found: Sequence[RunRecord], settings: Iterable[str]) -> Table:
    """A column for each run: its figures, and below them these settings."""
    table = Table("", *(run.name for run in found), box=None, pad_edge=False)
    for name, text in FIGURES.items():
        table.add_row(name, *map(text, found))
    table.add_row()
    for name in settings:
        table.add_row(name, *(run.settings.get(name, "") for run in found))
    return table


def differing(found: Sequence[RunRecord]) -> list[str]:
    """Settings in which these runs are not all the same."""
    names = dict.fromkeys(name for run in found for name in run.settings if name not in NAMES_ONE_RUN)
    return [name for name in names if len({run.settings.get(name) for run in found}) > 1]


def compare_best(trials: Sequence[RunRecord]) -> list[str]:
    return [f"manta runs {trials[0].name} {trials[1].name}"] if len(trials) > 1 else []


def commands_after(found: Sequence[RunRecord]) -> list[str]:
    """To go on with the first that was interrupted, or to use the first version there is."""
    stopped = next((run for run in found if run.status == "interrupted" and run.kind != "trial"), None)
    if stopped is not None:
        return [f"manta {'sweep' if stopped.kind == 'sweep' else 'train'} --resume {stopped.name}"]
    versions = [run.versions[-1] for run in found if run.versions]
    return [f"manta evaluate {versions[0]}"] if versions else []


def data_text(run: RunRecord) -> str:
    """A long path by its end."""
    data = run.settings.get("data", "")
    return data if len(data) <= 30 else f"…{data[-29:]}"


def epochs_text(run: RunRecord) -> str:
    if run.epochs_done is None:
        return "" if run.kind == "sweep" else f"0/{run.epochs_asked or '?'}"
    return f"{run.epochs_done}/{run.epochs_asked or '?'}"


def share_text(share: float | None) -> str:
    return "" if share is None else f"{share:.2%}"


def duration_text(seconds: float | None) -> str:
    """As people read it: 12.3 s, 4 min 05 s, 2 h 10 min."""
    if seconds is None:
        return ""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def count_text(count: float | None) -> str:
    return "" if count is None else f"{count:,.0f}"


FIGURES: dict[str, Callable[[RunRecord], str]] = {
    "kind": lambda run: run.kind,
    "status": lambda run: run.status,
    "started": lambda run: f"{run.started:%Y-%m-%d %H:%M} UTC",
    "took": lambda run: duration_text(run.seconds),
    "version": lambda run: ", ".join(run.versions),
    "validation accuracy": lambda run: share_text(run.val_accuracy),
    "test accuracy": lambda run: share_text(run.test_accuracy),
    "epochs done": lambda run: count_text(run.epochs_done),
    "best epoch": lambda run: count_text(run.best_epoch),
    "training": lambda run: duration_text(run.metrics.get("train_seconds")),
    "images/s": lambda run: count_text(run.metrics.get("mean_images_per_second")),
    "parameters": lambda run: count_text(run.parameters),
}
"""Rows of a comparison."""
