"""The processes of a local cluster, found by the mark in their environment, and their end."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psutil

from cluster.environment import MARK

_POLL_S = 0.05


def marked_processes(mark: str) -> list[psutil.Process]:
    """Every living process that carries `mark`, except this one and its ancestors."""
    own = {process.pid for process in (psutil.Process(), *psutil.Process().parents())}
    return [process for process in psutil.process_iter() if process.pid not in own and _mark_of(process) == mark]


def stop_marked(mark: str, *, patience_s: float, limit_s: float = 5.0) -> bool:
    """Asks the marked processes to end, kills those left after `patience_s`. True when none is left.

    The head's own store (GCS) goes last: without it the others wait for its return instead of ending.
    Processes that a dying one still starts are found by the next look.
    """
    began = time.monotonic()
    asked: set[psutil.Process] = set()
    while left := marked_processes(mark):
        elapsed = time.monotonic() - began
        if elapsed > limit_s:
            return False
        for process in left if elapsed > patience_s else _next_to_ask(left):
            if elapsed > patience_s:
                _signal(process, kill=True)
            elif process not in asked:
                asked.add(process)
                _signal(process, kill=False)
        time.sleep(_POLL_S)
    return True


def is_alive(mark: str) -> bool:
    """Whether the head's store and its node process both run."""
    return {"gcs_server", "raylet"} <= {_name_of(process) for process in marked_processes(mark)}


def head_pid(mark: str) -> int | None:
    """The process id of the head's store (GCS)."""
    return next((process.pid for process in marked_processes(mark) if _name_of(process) == "gcs_server"), None)


def _next_to_ask(left: list[psutil.Process]) -> Iterator[psutil.Process]:
    others = [process for process in left if _name_of(process) != "gcs_server"]
    yield from others or left


def _mark_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(MARK)
    except (psutil.Error, OSError):
        return None


def _name_of(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.Error:
        return ""


def _signal(process: psutil.Process, *, kill: bool) -> None:
    try:
        process.kill() if kill else process.terminate()
    except psutil.Error:
        return
