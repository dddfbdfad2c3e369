"""What every job does around its work: find the cluster and the home folder, tell progress, give a result."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

import ray

from app.allocator import ONE_ARENA
from app.config import Home
from app.cores import usable_cores
from app.errors import MantaError
from cluster.jobs import RESULT_PREFIX

if TYPE_CHECKING:
    import torch

    from app.registry import Registry


@dataclass(frozen=True, slots=True)
class Job:
    """Where a job runs."""

    home: Home
    dashboard_url: str


def connect() -> Job:
    """Joins the cluster that runs this job, or starts one here.

    Raises MantaError when MANTA_HOME cannot be written: on several nodes it is shared storage.
    """
    signal.signal(signal.SIGTERM, _interrupt)  # a stopped job still closes its records
    home = Home.from_env()
    try:
        home.root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home.root):
            pass
    except OSError as error:
        raise MantaError(f"MANTA_HOME {home.root} cannot be written: {error.strerror}") from error
    # What workers print stays in Ray's logs: a job tells its progress itself.
    workers_environment = {"env_vars": {**ONE_ARENA, **_addresses()}}
    context = ray.init(logging_level=logging.WARNING, log_to_driver=False, runtime_env=workers_environment)
    return Job(home, f"http://{context.dashboard_url}")


def _addresses() -> dict[str, str]:
    """Tells workers which cluster is theirs.

    Ray Train gives the place of a stopped trial free by asking the cluster's state API, which looks for the cluster
    itself, finds several on a machine that has several, and gives up: later trials would wait for that place for ever.
    """
    address = os.environ.get("RAY_ADDRESS")
    return {"RAY_ADDRESS": address} if address is not None else {}


@contextlib.contextmanager
def recorded(tracking_run_id: str, registry: Registry) -> Iterator[None]:
    """Closes a record in MLflow with how the block ended, which stays so where MLflow cannot be told."""
    try:
        yield
    except KeyboardInterrupt:
        with telling_mlflow("that the run was interrupted"):
            registry.end_run(tracking_run_id, "KILLED")
        raise
    except BaseException:
        with telling_mlflow("that the run failed"):
            registry.end_run(tracking_run_id, "FAILED")
        raise
    with telling_mlflow("that the run is finished"):
        registry.end_run(tracking_run_id, "FINISHED")


@contextlib.contextmanager
def telling_mlflow(what: str) -> Iterator[None]:
    """Around what tells MLflow of something that has happened already: says so where that fails, and ends nothing."""
    try:
        yield
    except MantaError as error:
        say(f"MLflow did not hear {what}: {error}")


def torch_device() -> torch.device:
    """Where this job itself computes with torch, on all cores of its machine: Ray gives a driver one thread."""
    import torch

    torch.set_num_threads(usable_cores())
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def say(line: str) -> None:
    """One line of progress."""
    print(line, flush=True)


def finish(result: dict[str, Any]) -> None:
    """Prints the job's result as its last line."""
    print(RESULT_PREFIX + json.dumps(result), flush=True)


class Stopwatch:
    def __init__(self) -> None:
        self._started = time.perf_counter()

    def restart(self) -> float:
        """Seconds since the last start."""
        now = time.perf_counter()
        seconds, self._started = now - self._started, now
        return seconds


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
