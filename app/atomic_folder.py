"""A folder that appears complete under its name, or not at all; and one that never outlives its writer by much.

It is written beside its target under a name that carries its writer, and renamed at the end, so two
processes may build the same target at once and either may be killed. What a dead writer left behind
is removed by the next one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil

_PREFIX = ".building-"
_CLOCK_SLACK_S = 10.0
"""A process's start time moves a little when the system clock is set."""
_FOREIGN_LEFTOVER_S = 24 * 3600.0
"""Another machine's writer cannot be seen from here; a day after its last new file it counts as dead."""


@contextlib.contextmanager
def building(target: Path) -> Iterator[Path]:
    """Gives a temporary folder that becomes `target` when the block ends well, and is gone when it does not.

    When another process finished the same target first, its folder stays and this one is dropped.
    """
    with scratch(target.parent) as folder:
        yield folder
        _publish(folder, target)


@contextlib.contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """Gives an empty folder below `parent` that is gone when the block ends, however it ends."""
    parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(parent)
    folder = parent / f"{_PREFIX}{_owner()}-{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _publish(folder: Path, target: Path) -> None:
    for path in (*folder.iterdir(), folder):  # else a power cut could leave a whole folder of empty files
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    try:
        folder.rename(target)
    except OSError:
        if not target.is_dir():
            raise


def _owner() -> str:
    return f"{socket.gethostname()}-{os.getpid()}-{psutil.Process().create_time():.0f}"


def _remove_leftovers(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        if not _owner_lives(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _owner_lives(folder: Path) -> bool:
    try:
        host, pid, started, _ = folder.name.removeprefix(_PREFIX).rsplit("-", 3)
    except ValueError:  # not one of ours
        return True
    if host != socket.gethostname():
        with contextlib.suppress(FileNotFoundError):
            return time.time() - folder.stat().st_mtime < _FOREIGN_LEFTOVER_S
        return True
    try:
        return abs(psutil.Process(int(pid)).create_time() - float(started)) < _CLOCK_SLACK_S
    except psutil.NoSuchProcess:
        return False
