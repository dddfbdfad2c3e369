"""One driver for a run, and who only looks stands in nobody's way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from app.errors import BadInput
from app.run_lock import is_locked, locked

HOLD = """
import sys
from pathlib import Path
from app.run_lock import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_a_folder_is_locked_while_somebody_works_on_it(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    with locked(tmp_path):
        assert is_locked(tmp_path)
        with pytest.raises(BadInput, match=f"run {tmp_path.name} is being trained right now"), locked(tmp_path):
            pass
        assert is_locked(tmp_path), "a refusal takes nothing away"
    assert not is_locked(tmp_path)


def test_looking_leaves_it_free(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    assert not is_locked(tmp_path)
    with locked(tmp_path):
        pass


def test_a_killed_process_holds_nothing_back(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        assert is_locked(tmp_path)
        process.kill()
    assert not is_locked(tmp_path)
