"""The cluster a command works on: the user's own, or one that lives as long as the command."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

from app.cli.output import Output
from app.config import DEFAULT_HTTP_PORT, Home, http_host
from app.errors import JobFailed
from app.options import ERROR_PREFIX
from cluster import local
from cluster.connection import Connection, connect, named_address
from cluster.jobs import run_job
from cluster.ports import check_port_free


@dataclass(slots=True)
class Session:
    home: Home
    connection: Connection
    started_here: bool
    """Whether this command started the cluster, and so has to stop it."""

    def run_job(self, module: str, argv: list[str], output: Output) -> dict[str, Any]:
        """Runs a job, showing its lines, and returns its result. Raises the job's error with its exit code."""

        def show(line: str) -> None:
            if not line.startswith(ERROR_PREFIX):  # it is this command's own last line, shown once
                output.say(line)

        outcome = run_job(self.connection.dashboard_url, module, argv, home=self.home, on_line=show)
        if outcome.status == "FAILED" and outcome.last_line.startswith(ERROR_PREFIX):
            raise JobFailed(outcome.last_line.removeprefix(ERROR_PREFIX), exit_code=outcome.exit_code)
        outcome.raise_for_failure()
        return outcome.result or {}


@contextlib.contextmanager
def session(output: Output, *, serving: bool = False, port: int | None = None, keep: bool = False) -> Iterator[Session]:
    """Joins the cluster of RAY_ADDRESS or `manta up`; without one it starts one and stops it again at the end.

    The end may be success, failure or Ctrl-C; with `keep`, success leaves the cluster running.
    serving: the command needs the HTTP port; PortInUse is raised before a cluster is started in vain.
    """
    home = Home.from_env()
    with terminate_like_ctrl_c():
        if named_address() or local.find(home):
            yield Session(home, connect(home), started_here=False)
            return
        if serving:
            check_port_free(http_host(), port or DEFAULT_HTTP_PORT)
        output.say("starting a local Ray cluster")
        ended_well = False
        try:
            local.start(home)
            yield Session(home, connect(home), started_here=True)
            ended_well = True
        finally:
            if not (keep and ended_well):
                with _uninterrupted():
                    local.stop(home)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """An impatient second Ctrl-C must not leave half a cluster: stopping takes a few seconds at most."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def terminate_like_ctrl_c() -> Iterator[None]:
    """A terminated command cleans up as an interrupted one does."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
