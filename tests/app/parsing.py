"""Settings, as the command line makes them of what was typed."""

from __future__ import annotations

from typing import TypeVar

import typer
from typer.testing import CliRunner

from app.options import with_options

S = TypeVar("S")


def command_of(kind: type[S]) -> tuple[typer.Typer, list[S]]:
    """A command line for these settings, and what it was called with."""
    seen: list[S] = []
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(with_options(kind)(seen.append))
    return app, seen


def parse(kind: type[S], argv: list[str]) -> S:
    app, seen = command_of(kind)
    result = CliRunner().invoke(app, argv)
    assert result.exit_code == 0, result.output
    return seen[0]
