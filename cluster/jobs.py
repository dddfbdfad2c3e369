"""Ray jobs: submit one, follow its lines, return what it found out.

A job prints its result as the last line, `manta-result: {json}`. Over the jobs REST API, because
Ray's own client follows RAY_ADDRESS instead of the address it is given, and costs a second to import.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from app.config import Home
from app.edge_engine import find_engine
from app.errors import ClusterError, JobFailed
from app.options import ERROR_PREFIX
from cluster.dashboard import Dashboard

RESULT_PREFIX = "manta-result: "

Status = Literal["SUCCEEDED", "FAILED", "STOPPED"]

_POLL_S = 0.25
_LONG_JOB_S, _LONG_POLL_S = 15.0, 1.0
_PATIENCE_S = 30.0
"""How long a running job's cluster may not answer before it counts as lost."""
_STOP_LIMIT_S = 10.0
"""Ray asks a driver to end (SIGTERM) and kills it 3 s later; then its workers go."""
_RAYLET = ("(raylet)", "\x1b")
"""Begins what Ray's daemons say into a job's log, also after the job's own last word."""
_RAYS_OWN_LINES = re.compile(r"Running entrypoint for job |.*job_manager\.py:\d+ -- Runtime env is setting up")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOutcome:
    """How a job ended."""

    submission_id: str
    name: str
    status: Status
    exit_code: int | None
    """The driver's; None when it never ran or was stopped."""
    result: dict[str, Any] | None
    """What its result line held."""
    last_line: str
    """The last thing it said besides the result; of a traceback, the exception."""
    seconds: float
    """From submission to its end."""

    def raise_for_failure(self) -> None:
        """Raises JobFailed unless the job succeeded."""
        if self.status == "SUCCEEDED":
            return
        code = "" if self.exit_code is None else f" with exit code {self.exit_code}"
        raise JobFailed(f"job {self.name} {self.status.lower()}{code}: {self.last_line or 'it said nothing'}")


def run_job(
    dashboard_url: str,
    module: str,
    arguments: Sequence[str],
    *,
    home: Home,
    on_line: Callable[[str], None] | None = None,
) -> JobOutcome:
    """Runs `python -m module arguments...` on the cluster's head and waits for its end.

    The driver takes no logical CPU. `on_line` gets every line it prints, without the result line.
    On KeyboardInterrupt the job is stopped first. Raises ClusterError when the cluster is lost;
    a job that fails is an outcome, not an exception.
    """
    variables = job_environment(home)
    return run_command(
        dashboard_url, ("python", "-m", module, *arguments), name=module, variables=variables, on_line=on_line
    )


def run_command(
    dashboard_url: str,
    command: Sequence[str],
    *,
    name: str,
    variables: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] | None = None,
) -> JobOutcome:
    """`run_job` for any command. `variables` are the driver's alone, so its workers need no start of their own."""
    assignments = [f"{key}={value}" for key, value in (variables or {}).items()]
    # exec: the shell in between would get the stop signal instead of the driver.
    entrypoint = "exec " + shlex.join(["env", *assignments, *command])
    wanted_id = f"manta-{name.rpartition('.')[2]}-{uuid.uuid4().hex[:8]}"
    dashboard, began = Dashboard(dashboard_url), time.monotonic()
    try:
        body = {"entrypoint": entrypoint, "submission_id": wanted_id, "metadata": {"job_name": name}}
        dashboard.post("/api/jobs/", body)
        return _Follower(dashboard, wanted_id, name, on_line or (lambda _line: None), began).follow()
    except KeyboardInterrupt:
        stop_job(dashboard, wanted_id)
        raise
    finally:
        dashboard.close()


def stop_job(dashboard: Dashboard, submission_id: str) -> None:
    """Stops a job and waits a bounded time for its end; Ray ends its workers with it."""
    deadline = time.monotonic() + _STOP_LIMIT_S
    asked = False
    while time.monotonic() < deadline:
        # An interrupt may come while the job is being submitted: it is unknown now and runs a moment later.
        with contextlib.suppress(ClusterError):
            if not asked:
                dashboard.post(f"/api/jobs/{submission_id}/stop", timeout_s=_STOP_LIMIT_S)
                asked = True
            if _is_over(dashboard.get(f"/api/jobs/{submission_id}", timeout_s=_STOP_LIMIT_S)):
                return
        time.sleep(_POLL_S)


def job_environment(home: Home) -> dict[str, str]:
    """What a driver gets as explicit values: its working directory and environment are not the user's."""
    variables = {"MANTA_HOME": str(home.root.resolve()), "PYTHONUNBUFFERED": "1", "MANTA_GIT_COMMIT": git_commit()}
    if engine := find_engine():  # lies outside what travels with a job
        variables["MANTA_ENGINE"] = str(engine)
    passed_on = ("MLFLOW_TRACKING_URI", "MANTA_HTTP_HOST", "MANTA_GRPC_PORT")
    return variables | {name: value for name in passed_on if (value := os.environ.get(name))}


def git_commit() -> str:
    """The commit of Manta's own checkout, or "" where it was installed without one."""
    if known := os.environ.get("MANTA_GIT_COMMIT"):
        return known
    checkout = Path(__file__).resolve().parent.parent
    command = ["git", "-C", str(checkout), "rev-parse", "--show-toplevel", "HEAD"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.split("\n")
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer[1] if Path(answer[0]) == checkout else ""


class _Follower:
    """Reads one job's log and status until it is over."""

    def __init__(
        self, dashboard: Dashboard, submission_id: str, name: str, on_line: Callable[[str], None], began: float
    ) -> None:
        self._dashboard = dashboard
        self._id = submission_id
        self._name = name
        self._on_line = on_line
        self._began = began
        self._read = 0
        self._result: dict[str, Any] | None = None
        self._last_line = ""

    def follow(self) -> JobOutcome:
        lost_since: float | None = None
        started = time.monotonic()
        while True:
            asked = time.monotonic()
            try:
                details = self._dashboard.get(f"/api/jobs/{self._id}")
                over = _is_over(details)
                # After the status: a job that is over has written everything.
                self._take(self._dashboard.get(f"/api/jobs/{self._id}/logs")["logs"], whole=over)
            except ClusterError as error:
                lost_since = lost_since or asked
                if asked - lost_since > _PATIENCE_S:
                    raise ClusterError(f"lost the cluster while job {self._id} was running: {error}") from error
                time.sleep(_POLL_S)
                continue
            if over:
                return self._outcome(details)
            lost_since = None
            # Ray sends the whole log each time: a long one is read less often, a tenth of the time at most. And reading
            # wakes five of Ray's processes, on cores that a long job needs.
            patience = _LONG_POLL_S if time.monotonic() - started > _LONG_JOB_S else _POLL_S
            time.sleep(max(patience, 10 * (time.monotonic() - asked)))

    def _take(self, log: str, *, whole: bool) -> None:
        """Hands over the lines that are new, the last one only when it is complete."""
        new = log[self._read :]
        end = len(new) if whole else new.rfind("\n") + 1
        self._read += end
        for line in new[:end].splitlines():
            self._take_line(line)

    def _take_line(self, line: str) -> None:
        if line.startswith(RESULT_PREFIX):
            # Not a result after all where it does not parse: then it is shown.
            with contextlib.suppress(ValueError):
                self._result = json.loads(line.removeprefix(RESULT_PREFIX))
                return
        if _RAYS_OWN_LINES.match(line):
            return
        if not self._last_line.startswith(ERROR_PREFIX) and not line.startswith(_RAYLET):
            self._last_line = line.strip() or self._last_line
        self._on_line(line)

    def _outcome(self, details: Mapping[str, Any]) -> JobOutcome:
        return JobOutcome(
            submission_id=self._id,
            name=self._name,
            status=details["status"],
            exit_code=details.get("driver_exit_code"),
            result=self._result,
            last_line=self._last_line or str(details.get("message") or ""),
            seconds=time.monotonic() - self._began,
        )


def _is_over(details: Mapping[str, Any]) -> bool:
    return details["status"] in ("SUCCEEDED", "FAILED", "STOPPED")
