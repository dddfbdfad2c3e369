"""Clusters of their own, besides the one that the test session shares."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from app.config import Home
from app.errors import ClusterError, PortInUse
from cluster import environment, local
from cluster.environment import MARK
from cluster.local import LocalCluster
from cluster.ports import ServePorts
from cluster.processes import marked_processes, stop_marked
from tests.waiting import wait_for


def test_the_session_cluster_is_found_and_every_process_carries_the_mark(
    cluster: LocalCluster, cluster_home: Home
) -> None:
    assert local.find(cluster_home) == cluster
    marked = {process.pid for process in marked_processes(cluster.mark)}
    assert cluster.pid in marked
    of_the_session = {
        process.pid
        for process in psutil.process_iter()
        if any(cluster.folder in argument for argument in _command(process))
    }
    assert of_the_session <= marked
    # Dashboard modules and agents overwrite their title, and without SPT_NOENV the mark with it.
    children = {child.pid for pid in marked for child in _children(pid)}
    assert children <= marked


def test_a_second_start_finds_the_first(cluster: LocalCluster, cluster_home: Home) -> None:
    before = _head(cluster)
    assert local.start(cluster_home, num_cpus=7) == cluster
    assert _head(cluster) == before


@pytest.mark.parametrize("command", ["ray job list", "serve status"])
def test_rays_own_command_line_works_after_the_export_line(cluster: LocalCluster, command: str) -> None:
    variables = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_MODE"}
    variables["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    script = f"{cluster.exports} && {command}"
    answer = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60, env=variables)
    assert answer.returncode == 0, answer.stderr


def test_after_the_head_crashed_stop_leaves_nothing(home: Home) -> None:
    first = local.start(home, num_cpus=1, object_store_bytes=100 << 20)
    try:
        os.kill(first.pid, signal.SIGKILL)
        wait_for(lambda: local.find(home) is None)
        assert marked_processes(first.mark), "nothing survived the head, so this test shows nothing"
    finally:
        stopped = local.stop(home)
    assert stopped
    assert marked_processes(first.mark) == []
    assert not home.cluster_file.exists()
    assert list((home.logs / "ray").glob("gcs_server*")), "the logs of a crashed head are what one wants to read"
    assert not local.stop(home)


def test_a_start_that_fails_says_why_and_leaves_nothing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    marks = _start_instead(monkeypatch, "sleep 300 & echo some line; echo the reason; exit 1")
    with pytest.raises(ClusterError, match=r"^Ray did not start: the reason$"):
        local.start(home)
    assert marked_processes(marks[0]) == []
    assert local.find(home) is None


def test_an_interrupted_start_leaves_nothing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    marks = _start_instead(monkeypatch, "sleep 300 & sleep 300")

    def interrupt() -> None:
        wait_for(lambda: len(marks) == 1 and len(marked_processes(marks[0])) >= 2)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        local.start(home)
    thread.join()
    assert marked_processes(marks[0]) == []
    assert not home.cluster_file.exists()


def test_a_dashboard_port_that_is_taken_is_refused_before_anything_starts(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(PortInUse, match=f"port {port} is in use; choose another with --dashboard-port"):
            local.start(home, dashboard_port=port)
    assert not home.cluster_file.exists()


def test_a_cluster_file_of_a_cluster_that_is_gone_is_no_cluster(home: Home) -> None:
    home.root.mkdir()
    home.cluster_file.write_text('{"mark": "gone", "unknown": 1}')
    assert local.find(home) is None
    assert not local.stop(home)


def test_processes_that_ignore_the_request_to_end_are_killed() -> None:
    mark = f"stubborn-{os.getpid()}"
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(300)"
    with psutil.Popen([sys.executable, "-c", code], env={MARK: mark}, stdout=-1) as child:
        child.stdout.readline()
        assert stop_marked(mark, patience_s=0.2, limit_s=5)
        assert child.wait(5) == -signal.SIGKILL


def _start_instead(monkeypatch: pytest.MonkeyPatch, script: str) -> list[str]:
    """Runs this shell script in place of `ray start`. Returns where the marks of such starts appear."""
    marks: list[str] = []
    real = environment.cluster_environment

    def remembered(home: Home, mark: str, folder: Path, ports: ServePorts, cores: int) -> dict[str, str]:
        marks.append(mark)
        return real(home, mark, folder, ports, cores)

    monkeypatch.setattr(environment, "cluster_environment", remembered)
    monkeypatch.setattr(local, "_ray_start", lambda *_: ["sh", "-c", script])
    return marks


def _head(cluster: LocalCluster) -> dict[str, set[int]]:
    """The process ids of the head's store and of its node."""
    found: dict[str, set[int]] = {"gcs_server": set(), "raylet": set()}
    for process in marked_processes(cluster.mark):
        with contextlib.suppress(psutil.Error):
            found.get(process.name(), set()).add(process.pid)
    assert all(found.values())
    return found


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _children(pid: int) -> list[psutil.Process]:
    try:
        return [child for child in psutil.Process(pid).children() if child.status() != psutil.STATUS_ZOMBIE]
    except psutil.Error:
        return []
