"""The `manta` command: from a folder of labelled images to a live, versioned classification service.

Each verb submits a Ray job or a Serve document to a cluster and shows what comes of it. The cluster
is the one RAY_ADDRESS names, else the one `manta up` started, else one started for the command.
"""

from __future__ import annotations

import inspect
import sys

import typer

from app import __version__
from app.cli import (
    cluster_commands,
    job_commands,
    load_commands,
    model_commands,
    monitor_commands,
    run_commands,
    serve_commands,
    traffic_commands,
    training_commands,
)
from app.options import run_command_line

app = typer.Typer(
    help=inspect.getdoc(sys.modules[__name__]),
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (
    job_commands,
    training_commands,
    run_commands,
    model_commands,
    serve_commands,
    traffic_commands,
    monitor_commands,
    load_commands,
    cluster_commands,
):
    group.add_to(app)


@app.callback(invoke_without_command=True)
def manta(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    if version:
        print(__version__)
        raise typer.Exit


def main() -> None:
    run_command_line(app)
