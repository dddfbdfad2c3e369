"""The lock on the folder of a run or sweep: who holds it works on it, and a killed process holds nothing back."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from app.errors import BadInput

LOCK_FILE = ".lock"
LOOK_S = 0.05
"""Seconds to wait for somebody who only looks, which takes microseconds."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One driver for the run or sweep of this folder. Raises BadInput while another one has it."""
    with (folder / LOCK_FILE).open("a") as file:
        if not _take(file, fcntl.LOCK_EX):
            time.sleep(LOOK_S)
            if not _take(file, fcntl.LOCK_EX):
                raise BadInput(f"run {folder.name} is being trained right now")
        yield


def is_locked(folder: Path) -> bool:
    """Whether a driver works on this folder right now."""
    try:
        with (folder / LOCK_FILE).open() as file:
            return not _take(file, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def _take(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
