"""What each Ray Train worker does: load its view of the dataset, fit, report every epoch."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray.train

from app.allocator import keep_freed_memory
from app.atomic_file import write_atomically
from app.config import JOB_NICENESS
from app.errors import BrokenBundle, Diverged, MantaError, NotFound
from app.settings import FitSettings
from train_jobs.failure import write_failure
from train_jobs.runs import FAILURE_FILE, HISTORY_FILE, PROGRESS_FILE
from train_jobs.teachers import TeacherTask

if TYPE_CHECKING:
    from app.train_state import TrainState

CHECKPOINT_PREFIX = "checkpoint_"
"""Ray Train names the folders of its checkpoints so, with the time behind it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerTask:
    """Travels to the workers as plain values; all of these lie on storage that every node sees."""

    fit: FitSettings
    dataset: Path
    folder: Path
    """Of the run."""
    threads: int
    teacher: TeacherTask | None = None
    initial: Path | None = None
    """Checkpoint with the weights that a new run begins with."""
    start: Path | None = None
    """Saved state to begin with, where the run has none in storage."""


def train_worker(task: WorkerTask) -> None:
    """Starts from the run's latest whole checkpoint when there is one, so a replaced worker goes on from there.

    What starting again would not mend is left in the run's folder as a failure, for the driver. Where it may be this
    worker's alone it is raised too: Ray Train then stops the others, which would wait for this one, and starts all
    again, to find the failure.
    """
    if (task.folder / FAILURE_FILE).is_file():
        return
    try:
        _train(task)
    except Diverged as error:  # the loss is summed over the workers, so all of them raise it
        if _is_first():
            write_failure(task.folder / FAILURE_FILE, error)
    except MantaError as error:
        try:
            write_failure(task.folder / FAILURE_FILE, error)
        except OSError:  # the folder is what this node does not see
            raise error from None
        if ray.train.get_context().get_world_size() > 1:
            raise


def _train(task: WorkerTask) -> None:
    import torch
    from ray.train.torch import get_device

    from app.datasets import load
    from app.training import fit
    from app.training_loop import Hooks

    if not task.dataset.is_dir():
        raise NotFound(f"this node does not see {task.dataset}: MANTA_HOME has to be shared storage")
    torch.set_num_threads(task.threads)
    os.nice(JOB_NICENESS)
    keep_freed_memory()
    device = get_device()
    with tempfile.TemporaryDirectory() as folder:
        fit(
            task.fit,
            load(task.dataset),
            device=device,
            resume=latest_whole_checkpoint(Path(folder)) or task.start,
            initial=task.initial,
            objective=task.teacher.objective(task.fit, device) if task.teacher else None,
            hooks=Hooks(
                on_epoch=lambda state, due: report_epoch(state, task.folder, due=due),
                on_checkpoint=report_within_epoch,
                on_progress=lambda share: write_atomically(task.folder / PROGRESS_FILE, json.dumps(share)),
            ),
        )


def latest_whole_checkpoint(folder: Path) -> Path | None:
    """A copy, below `folder`, of the newest checkpoint in storage that can be read.

    A newer one that was cut off is passed over. Raises BrokenBundle when there are only such.
    """
    from app import checkpoint

    broken: BrokenBundle | None = None
    for candidate in stored_checkpoints():
        with candidate.as_directory() as stored:
            if not (Path(stored) / checkpoint.STATE_FILE).is_file():
                continue
            copy = Path(shutil.copyfile(Path(stored) / checkpoint.STATE_FILE, folder / checkpoint.STATE_FILE))
        try:
            checkpoint.load(copy)
        except BrokenBundle as error:
            broken = error
        else:
            return copy
    if broken is not None:
        raise broken
    return None


def stored_checkpoints() -> Iterator[ray.train.Checkpoint]:
    """The one that Ray Train goes on from, then older ones that are still in storage, newest first."""
    import pyarrow.fs

    latest = ray.train.get_checkpoint()
    if latest is None:
        return
    yield latest
    parent, _, name = str(latest.path).rstrip("/").rpartition("/")
    found = latest.filesystem.get_file_info(pyarrow.fs.FileSelector(parent))
    older = [info.path for info in found if info.base_name.startswith(CHECKPOINT_PREFIX) and info.base_name < name]
    for path in sorted(older, reverse=True):
        yield ray.train.Checkpoint(path, filesystem=latest.filesystem)


def report_epoch(state: TrainState, folder: Path, *, due: bool) -> None:
    """Every rank reports; rank 0, with the checkpoint, also updates the history that the driver follows."""
    report = state.history[-1]
    _report({**asdict(report), "score": report.score}, state if due else None)
    if _is_first():
        # After the report: an epoch that the driver shows is one that a restart does not lose, unless
        # --checkpoint-epochs leaves some without, or it comes before Ray Train's controller has heard of it.
        write_atomically(folder / HISTORY_FILE, json.dumps([asdict(each) for each in state.history]))


def report_within_epoch(state: TrainState) -> None:
    """A checkpoint of an epoch that has begun; its figures are those of the last one that ended."""
    last = asdict(state.history[-1]) if state.history else {}
    _report({**last, "score": state.history[-1].score if state.history else 0.0, "step": state.progress.step}, state)


def _report(metrics: dict[str, Any], state: TrainState | None) -> None:
    from app.checkpoint import STATE_FILE

    if state is None or not _is_first():
        ray.train.report(metrics)
        return
    with tempfile.TemporaryDirectory() as folder:
        state.save(Path(folder) / STATE_FILE)
        ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))


def _is_first() -> bool:
    return ray.train.get_context().get_world_rank() == 0
