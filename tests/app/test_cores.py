"""How many cores this process may use."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from app.cores import usable_cores

ON_ONE_CORE = """
import os
from app.cores import usable_cores

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
print(usable_cores())
"""


def test_cores_that_are_not_this_process_s_do_not_count() -> None:
    answer = subprocess.run([sys.executable, "-c", ON_ONE_CORE], capture_output=True, text=True, check=True)
    assert answer.stdout == "1\n"


def test_the_quota_of_a_container_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(64)))
    monkeypatch.setattr("app.cores.Path.read_text", lambda _path: "350000 100000\n")
    assert usable_cores() == 4


def test_no_quota_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(64)))
    monkeypatch.setattr("app.cores.Path.read_text", lambda _path: "max 100000\n")
    assert usable_cores() == 64
