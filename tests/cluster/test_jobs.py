"""Real jobs on the session's cluster."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from app.config import Home
from app.errors import ClusterError, JobFailed
from cluster import jobs
from cluster.dashboard import Dashboard
from cluster.local import LocalCluster
from cluster.ports import free_port
from cluster.processes import marked_processes


def test_a_job_gets_explicit_values_and_returns_its_result(cluster: LocalCluster, home: Home) -> None:
    code = (
        "import json, os, sys; print('first'); print('second', file=sys.stderr); "
        "print('manta-result: ' + json.dumps({'home': os.environ['MANTA_HOME'], 'said': sys.argv[1]}))"
    )
    lines: list[str] = []
    outcome = jobs.run_command(
        cluster.dashboard_url,
        ("python", "-c", code, 'it\'s $HOME; "quoted"'),
        name="example",
        variables=jobs.job_environment(home),
        on_line=lines.append,
    )
    outcome.raise_for_failure()
    assert lines == ["first", "second"], "Ray's own lines and the result are not for the user"
    assert outcome.result == {"home": str(home.root), "said": 'it\'s $HOME; "quoted"'}
    assert (outcome.status, outcome.exit_code) == ("SUCCEEDED", 0)


def test_a_job_that_fails_says_its_exit_code_and_last_line(cluster: LocalCluster, home: Home) -> None:
    outcome = jobs.run_job(cluster.dashboard_url, "no_such_module_of_manta", ["--epochs", "3"], home=home)
    assert (outcome.status, outcome.exit_code, outcome.result) == ("FAILED", 1, None)
    with pytest.raises(JobFailed, match=r"exit code 1: .*No module named no_such_module_of_manta"):
        outcome.raise_for_failure()


def test_an_interrupt_stops_the_job_and_its_workers(cluster: LocalCluster) -> None:
    code = (
        "import ray, time; ray.init(); "
        "task = ray.remote(num_cpus=0.1)(lambda: [print('working'), time.sleep(300)]).options(name='long').remote(); "
        "ray.get(task)"
    )

    def interrupt(line: str) -> None:
        if line.endswith("working"):
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()

    with pytest.raises(KeyboardInterrupt):
        jobs.run_command(cluster.dashboard_url, ("python", "-c", code), name="interrupted", on_line=interrupt)
    # Ray ends the driver before it returns, and the workers of a driver that is gone at once.
    deadline = time.monotonic() + 10
    while left := _processes_of_the_job(cluster):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def _processes_of_the_job(cluster: LocalCluster) -> list[str]:
    commands = [" ".join(process.cmdline()) for process in marked_processes(cluster.mark)]
    return [command for command in commands if "import ray, time" in command or command.startswith("ray::long")]


def test_an_interrupt_while_a_job_is_submitted_stops_it_too(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Dashboard.post

    def interrupted(self: Dashboard, path: str, body: object = None, **options: float) -> object:
        answer = real(self, path, body, **options)
        if path == "/api/jobs/":
            raise KeyboardInterrupt
        return answer

    monkeypatch.setattr(Dashboard, "post", interrupted)
    with pytest.raises(KeyboardInterrupt):
        jobs.run_command(cluster.dashboard_url, ("sleep", "300"), name="early")
    dashboard = Dashboard(cluster.dashboard_url)
    known = dashboard.get("/api/jobs/")
    assert [job["status"] for job in known if job["submission_id"].startswith("manta-early-")] == ["STOPPED"]
    dashboard.close()


def test_no_cluster_is_one_clear_line() -> None:
    with pytest.raises(ClusterError, match=r"no Ray cluster answers at .*; start one with `manta up`"):
        jobs.run_command(f"http://127.0.0.1:{free_port()}", ("true",), name="nowhere")


def test_the_commit_of_the_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANTA_GIT_COMMIT", "abc")
    assert jobs.git_commit() == "abc"


class _Log:
    """The two answers of the dashboard that following a job needs."""

    def __init__(self, *reads: tuple[str, str]) -> None:
        self._reads = list(reads)
        self._log = ""

    def get(self, path: str) -> dict[str, str]:
        if path.endswith("/logs"):
            return {"logs": self._log}
        status, self._log = self._reads.pop(0)
        return {"status": status}


@pytest.mark.parametrize("result", ['manta-result: {"a": 1}', 'manta-result: {"a": 1}\n'])
def test_lines_arrive_whole_and_once(result: str) -> None:
    log = _Log(
        ("RUNNING", "on"), ("RUNNING", "one\ntw"), ("RUNNING", "one\ntwo\n"), ("SUCCEEDED", f"one\ntwo\n{result}")
    )
    lines: list[str] = []
    follower = jobs._Follower(log, "id", "example", lines.append, 0.0)  # type: ignore[arg-type]
    outcome = follower.follow()
    assert lines == ["one", "two"]
    assert outcome.result == {"a": 1}


def test_a_result_that_is_not_json_is_shown() -> None:
    log = _Log(("SUCCEEDED", "manta-result: {oops"))
    lines: list[str] = []
    outcome = jobs._Follower(log, "id", "example", lines.append, 0.0).follow()  # type: ignore[arg-type]
    assert outcome.result is None
    assert lines == ["manta-result: {oops"]


def test_a_job_knows_where_the_service_is_to_listen(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a pipeline would serve on loopback whatever the user asked for."""
    monkeypatch.setenv("MANTA_HTTP_HOST", "0.0.0.0")
    monkeypatch.setenv("MANTA_GRPC_PORT", "9000")
    found = jobs.job_environment(home)
    assert (found["MANTA_HTTP_HOST"], found["MANTA_GRPC_PORT"]) == ("0.0.0.0", "9000")
