"""Runs the `manta` command as a user does: another process, its own home folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from app.config import Home

MANTA = str(Path(sys.executable).with_name("manta"))


def environment(home: Home) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))}
    return {**inherited, "MANTA_HOME": str(home.root), "COLUMNS": "200"}


def manta(home: Home, *arguments: object, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    command = [MANTA, *map(str, arguments)]
    return subprocess.run(command, env=environment(home), capture_output=True, text=True, timeout=timeout, check=False)


def manta_json(home: Home, *arguments: object, timeout: float = 300) -> dict[str, Any]:
    """The answer with `--json`: stdout must be one JSON object and nothing else."""
    answer = manta(home, *arguments, "--json", timeout=timeout)
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
