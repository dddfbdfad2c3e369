"""What commands print: progress for people, or one JSON object for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

WIDEST = 1000
"""Columns of what is printed, wherever that is shown: the terminal wraps it, and a pipe takes any width."""


class Output:
    """With `as_json` stdout carries one JSON object and nothing else; progress goes to stderr."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._people = Console(stderr=as_json, highlight=False, soft_wrap=True, width=WIDEST)

    def say(self, line: str) -> None:
        """One line of progress, as it is: brackets in it are not markup."""
        self._people.print(line, markup=False)

    def table(self, table: Table) -> None:
        """Never narrower than its content: a cut version number is worse than a long line."""
        if not self._as_json:
            self._people.print(table)

    def facts(self, title: str, rows: Sequence[tuple[str, str]]) -> None:
        """A title and aligned lines of name and value; values are never cut, so that paths can be copied."""
        if self._as_json:
            return
        self._people.print(f"\n{title}", style="bold", markup=False)
        width = max(len(name) for name, _ in rows)
        for name, value in rows:
            self.say(f"  {name:<{width}}  {value}")

    def next_commands(self, *commands: str) -> None:
        """Every command ends with what to run next."""
        if self._as_json:
            return
        self._people.print("\nnext:", style="bold")
        for command in commands:
            self._people.print(f"  {command}", markup=False)

    def result(self, result: dict[str, Any]) -> None:
        """The machine-readable answer; only shown with `--json`."""
        if self._as_json:
            json.dump(result, sys.stdout, indent=2)
            print(flush=True)


def size_text(count: int) -> str:
    """Bytes as people read them: 202.5 kB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.1f} {unit}" if unit != "B" else f"{count} B"
        count /= 1000  # type: ignore[assignment]
    raise AssertionError("unreachable")
