"""Runs the `manta` command with a home folder of its own: as a user does, or within this process.

A process of its own imports everything anew, which takes longer than most commands that need no cluster.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

from app.cli.main import main
from app.config import Home

MANTA = str(Path(sys.executable).with_name("manta"))


def environment(home: Home) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))}
    return {**inherited, "MANTA_HOME": str(home.root), "COLUMNS": "200"}


def manta(home: Home, *arguments: object, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    command = [MANTA, *map(str, arguments)]
    return subprocess.run(command, env=environment(home), capture_output=True, text=True, timeout=timeout, check=False)


def manta_here(home: Home, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Within this process, for commands that start no cluster."""
    command = [MANTA, *map(str, arguments)]
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.dict(os.environ, environment(home), clear=True),
        mock.patch.object(sys, "argv", command),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())


def manta_json(home: Home, *arguments: object) -> dict[str, Any]:
    """The answer of a process with `--json`."""
    return the_json(manta(home, *arguments, "--json"))


def manta_json_here(home: Home, *arguments: object) -> dict[str, Any]:
    return the_json(manta_here(home, *arguments, "--json"))


def the_json(answer: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """stdout must be one JSON object and nothing else."""
    assert answer.returncode == 0, answer.stderr
    parsed: dict[str, Any] = json.loads(answer.stdout)
    return parsed


def assert_refused(answer: subprocess.CompletedProcess[str], code: int, says: str) -> None:
    """One clear line on stderr, the exit code, and no traceback."""
    assert answer.returncode == code, answer.stderr
    *before, last = answer.stderr.strip().splitlines()
    assert last.startswith("error: "), answer.stderr
    assert says in last
    assert not any("Traceback" in line for line in before)
