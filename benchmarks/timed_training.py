"""One training, timed from its submission: as a job on Ray, or the same loop in a process of its own."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app import checkpoint
from app.checkpoint import EpochReport
from app.cli.output import Output
from app.cli.session import Session
from app.config import JOB_NICENESS
from app.errors import JobFailed
from train_jobs.runs import open_run


@dataclass(frozen=True, slots=True)
class TimedTraining:
    """Of at least three epochs: the first one, which warms up, is left out of the rest."""

    submitted: float
    """Unix time in seconds."""
    history: Sequence[EpochReport]

    @property
    def epoch_seconds(self) -> list[float]:
        """From the end of one epoch to the end of the next: all of it, validation, checkpoint and report included."""
        return [after.ended - before.ended for before, after in itertools.pairwise(self.history)]

    @property
    def compute_shares(self) -> list[float]:
        return [report.compute_share for report in self.history[1:]]

    @property
    def startup_seconds(self) -> float:
        """From submission until the first epoch has begun, and one validation."""
        first = self.history[0]
        return first.ended - first.seconds - self.submitted


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What all trainings of a comparison have in common."""

    data: Path
    """Decoded already in the cache of `MANTA_HOME`."""
    epochs: int
    model: str

    @property
    def arguments(self) -> list[str]:
        return ["--data", str(self.data), "--epochs", str(self.epochs), "--model", self.model]


def train_on_ray(session: Session, recipe: Recipe, *, workers: int, threads: int, run: str) -> TimedTraining:
    """The job as `manta train` submits it; `threads` of each worker."""
    submitted = time.time()
    workers_and_threads = ["--workers", str(workers), "--threads", str(threads)]
    session.run_job("train_jobs.train", [*recipe.arguments, *workers_and_threads, "--run", run], Output(as_json=True))
    return TimedTraining(submitted, open_run(session.home, run).history())


def train_alone(recipe: Recipe, *, threads: int, out: Path) -> TimedTraining:
    """The loop of app/training.py without Ray, at the priority that Ray's workers train with. Raises JobFailed."""
    command = ["nice", "-n", str(JOB_NICENESS), sys.executable, "-m", "app.training"]
    submitted = time.time()
    ended = subprocess.run(
        [*command, *recipe.arguments, "--out", str(out)],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode != 0:
        raise JobFailed(f"app.training ended with {ended.returncode}: {ended.stderr.strip()[-500:]}")
    history = checkpoint.load(out / "last.pt")["history"]
    return TimedTraining(submitted, [EpochReport(**report) for report in history])
