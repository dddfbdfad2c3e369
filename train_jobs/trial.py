"""One trial of a sweep: a Ray Tune function around a training run."""

from __future__ import annotations

import contextlib
import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ray import tune
from ray.tune import Checkpoint

from app import checkpoint
from app.atomic_file import write_atomically
from app.checkpoint import STATE_FILE, EpochReport
from app.datasets import load
from app.errors import BrokenBundle, MantaError
from train_jobs.failure import read_failure
from train_jobs.ray_training import fit_on_ray
from train_jobs.runs import Run
from train_jobs.search import SCORE
from train_jobs.sweeps import Sweep
from train_jobs.worker import CHECKPOINT_PREFIX


def trial_of(sweep: Sweep, dataset: Path, *, threads: int) -> Callable[[dict[str, Any]], None]:
    """What Ray Tune calls, in an actor for each trial, with the settings that it chose.

    dataset: folder of a decoded one, which all trials share. threads: of each worker.
    """
    hand_over = sweep.settings.search == "pbt"

    def trial(config: dict[str, Any]) -> None:
        """Goes on from its last checkpoint where the trial ran before.

        What trying again would not mend ends it like any other: an error would make Ray Tune start it again.
        """
        run = sweep.trial(tune.get_context().get_trial_id(), config, threads=threads)
        taken_over = tune.get_checkpoint()
        start = None
        if taken_over:
            with contextlib.suppress(BrokenBundle):  # it goes on from a state of its own
                start = begin_with(run, taken_over)
        try:
            fit_on_ray(run, load(dataset), on_epoch=lambda report: report_epoch(report, run, hand_over), start=start)
        except MantaError:
            if read_failure(run.failure_file) is None:
                raise

    return trial


def report_epoch(report: EpochReport, run: Run, hand_over: bool) -> None:
    """What the scheduler decides by: it may end the trial here, or hand its latest state over to another."""
    latest = newest_checkpoint(run) if hand_over else None
    tune.report({**asdict(report), SCORE: report.score}, checkpoint=latest)


def newest_checkpoint(run: Run) -> Checkpoint | None:
    """The newest that is whole: Ray Train may be about to delete an older one, or to write the next."""
    found = [path for path in run.folder.glob(f"{CHECKPOINT_PREFIX}*") if zipfile.is_zipfile(path / STATE_FILE)]
    return Checkpoint(str(max(found))) if found else None


def begin_with(run: Run, taken_over: Checkpoint) -> Path:
    """Makes the run one that has come as far as this state, and nothing else. Returns the state's file.

    Raises BrokenBundle, and leaves the run as it was, for a state that cannot be read.
    """
    start = run.folder / "start.pt"
    with TemporaryDirectory() as empty, taken_over.as_directory() as folder:
        copy = shutil.copyfile(Path(folder) / STATE_FILE, Path(empty) / STATE_FILE)
        history = checkpoint.load(copy)["history"]
        shutil.rmtree(run.folder, ignore_errors=True)
        run.folder.mkdir(parents=True)
        shutil.copyfile(copy, start)
    write_atomically(run.history_file, json.dumps(history))
    return start
