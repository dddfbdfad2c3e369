"""CPU time and memory of a tree of processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from benchmarks.processes import cpu_seconds, memory, only_on_core, process_tree

CHILD = "memory = bytearray(50_000_000); print('up', flush=True); input()"
PARENT = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {CHILD!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
print("up", flush=True)
input()
child.communicate(b"\\n")
subprocess.run([sys.executable, "-c", "import time\\nwhile time.process_time() < 0.3: pass"], check=True)
print("done", flush=True)
input()
"""


@pytest.fixture
def server() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        yield process
        process.kill()


def test_a_tree_and_what_it_takes(server: subprocess.Popen[str]) -> None:
    """A child that came and went in between is counted: its parent has awaited it."""
    tree = process_tree(server.pid)
    assert len(tree) == 2
    used = memory(tree)
    assert 50e6 < used.proportional <= used.resident
    before = cpu_seconds(tree)
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write("\n")
    server.stdin.flush()
    assert server.stdout.readline() == "done\n"
    spent = cpu_seconds(process_tree(server.pid)) - before
    assert 0.3 <= spent < 3


def test_nothing_is_left_of_a_process_that_ended() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert process_tree(ended.pid) == []
    assert cpu_seconds([]) == 0


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_a_server_can_be_held_on_one_core(server: subprocess.Popen[str]) -> None:
    core = min(os.sched_getaffinity(0))
    with only_on_core(lambda: process_tree(server.pid), core):
        assert [process.cpu_affinity() for process in process_tree(server.pid)] == [[core]] * 2
    assert psutil.Process(server.pid).cpu_affinity() == sorted(os.sched_getaffinity(0))
