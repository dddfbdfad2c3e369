"""One trial of a sweep: a Ray Tune function around a training run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ray import tune

from app.checkpoint import EpochReport
from app.datasets import load
from train_jobs.ray_training import fit_on_ray
from train_jobs.search import SCORE
from train_jobs.sweeps import Sweep


def trial_of(sweep: Sweep, dataset: Path, *, threads: int) -> Callable[[dict[str, Any]], None]:
    """What Ray Tune calls, in an actor for each trial, with the settings that it chose.

    dataset: folder of a decoded one, which all trials share. threads: of each worker.
    """

    def trial(config: dict[str, Any]) -> None:
        """Goes on from its last checkpoint where the trial ran before. Raises MantaError."""
        run = sweep.trial(tune.get_context().get_trial_id(), config, threads=threads)
        fit_on_ray(run, load(dataset), on_epoch=report_epoch)

    return trial


def report_epoch(report: EpochReport) -> None:
    """What the scheduler decides by: it may end the trial here."""
    tune.report({**asdict(report), SCORE: report.score})
