"""What each Ray Train worker does: load its view of the dataset, fit, report every epoch."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import ray.train

from app.errors import NotFound
from app.settings import FitSettings

if TYPE_CHECKING:
    from app.training import TrainState


TRAINING_NICENESS = 10
"""Below the service's priority: a retraining on the same machine takes what the service leaves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerTask:
    """Travels to the workers as plain values; all of these lie on storage that every node sees."""

    fit: FitSettings
    dataset: Path
    history: Path
    progress: Path
    threads: int


def train_worker(task: WorkerTask) -> None:
    """Starts from the run's latest checkpoint when there is one, so a replaced worker goes on from there."""
    import torch
    from ray.train.torch import get_device

    from app.checkpoint import STATE_FILE
    from app.datasets import load
    from app.training import fit

    if not task.dataset.is_dir():
        raise NotFound(f"this node does not see {task.dataset}: MANTA_HOME has to be shared storage")
    torch.set_num_threads(task.threads)
    os.nice(TRAINING_NICENESS)
    start = ray.train.get_checkpoint()
    with start.as_directory() if start else nullcontext() as folder:
        fit(
            task.fit,
            load(task.dataset),
            device=get_device(),
            resume=Path(folder) / STATE_FILE if folder else None,
            on_epoch=lambda state: report_epoch(state, task.history),
            on_progress=lambda share: report_progress(share, task.progress),
        )


def report_progress(share: float, file: Path) -> None:
    """For the driver, within an epoch: shown and forgotten."""
    from train_jobs.runs import write_atomically

    if ray.train.get_context().get_world_rank() == 0:
        write_atomically(file, json.dumps(share))


def report_epoch(state: TrainState, history: Path) -> None:
    """Every rank reports, rank 0 with the checkpoint; it also updates the history that the driver follows."""
    from app.checkpoint import STATE_FILE
    from train_jobs.runs import write_atomically

    metrics = {**asdict(state.history[-1]), "score": state.history[-1].score}
    if ray.train.get_context().get_world_rank() != 0:
        ray.train.report(metrics)
        return
    with tempfile.TemporaryDirectory() as folder:
        state.save(Path(folder) / STATE_FILE)
        ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))
    # After the report: an epoch that the driver shows is one that a restart does not lose.
    write_atomically(history, json.dumps([asdict(report) for report in state.history]))
