"""One trial of a sweep: a Ray Tune function around a training run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ray import tune

from app.checkpoint import EpochReport
from app.datasets import Dataset
from train_jobs.ray_training import fit_on_ray
from train_jobs.search import SCORE
from train_jobs.sweeps import Sweep


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Called by Ray Tune in an actor of its own, with the settings that it chose."""

    sweep: Sweep
    dataset: Dataset
    threads: int
    """Of each worker."""

    def __call__(self, config: dict[str, Any]) -> None:
        """Goes on from its last checkpoint where the trial ran before. Raises MantaError."""
        run = self.sweep.trial(tune.get_context().get_trial_id(), config, threads=self.threads)
        fit_on_ray(run, self.dataset, on_epoch=report_epoch)


def report_epoch(report: EpochReport) -> None:
    """What the scheduler decides by: it may end the trial here."""
    tune.report({**asdict(report), SCORE: report.score})
