"""What a server's processes take together: CPU time, memory, cores."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

ProcessList = Callable[[], Sequence[psutil.Process]]
"""All processes of a server that are alive now."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes, summed over processes."""

    proportional: int
    """PSS: what processes share is counted once."""
    resident: int
    """RSS: what they share is counted for each."""


def process_tree(pid: int) -> list[psutil.Process]:
    """A process and all below it; empty when it has ended."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    """User and system time so far, that of ended and awaited children included: what it grows by was spent."""
    total = 0.0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def memory(processes: Sequence[psutil.Process]) -> Memory:
    proportional = resident = 0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            full = process.memory_full_info()
            proportional += full.pss
            resident += full.rss
    return Memory(proportional, resident)


@contextlib.contextmanager
def only_on_core(processes: ProcessList, core: int) -> Iterator[None]:
    """Every thread of the processes runs on this core while the block does."""
    before = os.sched_getaffinity(0)
    _bind(processes(), {core})
    _bind(processes(), {core})  # what was started meanwhile by one that was still free
    try:
        yield
    finally:
        _bind(processes(), before)


def _bind(processes: Sequence[psutil.Process], cores: set[int]) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            for thread in Path(f"/proc/{process.pid}/task").iterdir():
                with contextlib.suppress(ProcessLookupError):
                    os.sched_setaffinity(int(thread.name), cores)


def title(process: psutil.Process) -> str:
    """Its command line, which Ray's processes change to what they do; "" when it has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
