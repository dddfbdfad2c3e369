"""Ray Train around the training loop: workers, their checkpoints, and what their failures mean."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import ray
import ray.train
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from app.atomic_file import write_atomically
from app.checkpoint import STATE_FILE, EpochReport
from app.config import CPU
from app.datasets import Dataset
from app.errors import BadInput, ClusterError, MantaError
from app.settings import FitSettings
from app.settings.parts import part
from cluster.environment import MARK
from train_jobs.cores import threads_each
from train_jobs.failure import read_failure
from train_jobs.history import HistoryFollower
from train_jobs.job import say
from train_jobs.runs import Run
from train_jobs.teachers import TeacherTask
from train_jobs.worker import WorkerTask, train_worker

REPORT_INTERVAL_S = "0.2"
"""How often Ray Train's controller takes in reports; at its default of 2 s an epoch of 0.2 s would wait 1.8 s, and at
0.1 s the controller takes 3 % of a core."""


@dataclass(frozen=True, slots=True)
class Workers:
    """How a run's workers are placed."""

    fewest: int
    most: int
    resources: Mapping[str, float]
    """Logical CPUs and GPUs of each."""
    threads: int
    """Torch threads of each."""

    @classmethod
    def of(cls, run: Run) -> Workers:
        """Of a cluster that this process is connected to."""
        fewest, most = run.settings.worker_range
        gpu = has_gpus(fewest) if run.settings.gpu is None else run.settings.gpu
        threads = run.settings.threads or threads_each(most)
        return cls(fewest, most, {"CPU": CPU.train_worker, "GPU": float(gpu)}, threads)

    @property
    def number(self) -> int | tuple[int, int]:
        return self.most if self.fewest == self.most else (self.fewest, self.most)

    def __str__(self) -> str:
        number = str(self.most) if self.fewest == self.most else f"{self.fewest} to {self.most}"
        return f"{number} training worker{'s' * (self.most > 1)}"


def fit_on_ray(
    run: Run,
    dataset: Dataset,
    *,
    on_epoch: Callable[[EpochReport], None],
    teacher: TeacherTask | None = None,
    initial: Path | None = None,
    start: Path | None = None,
    recorded: int | None = None,
) -> None:
    """Trains on workers and leaves the best weights as `best.pt`, and the last state as `last.pt`, in the run's folder.

    on_epoch: called in this process for each epoch after `recorded`, by default after those of the run's history.
    initial: weights to begin with. start: saved state to begin with, where the run has none yet.
    Raises the workers' own MantaError after that, and MantaError that says how to go on for any other failure.
    """
    workers = Workers.of(run)
    check_room(workers)
    task = WorkerTask(
        fit=part(run.settings, FitSettings),
        dataset=dataset.folder,
        folder=run.folder,
        threads=workers.threads,
        teacher=teacher,
        initial=initial,
        start=start,
    )
    run.failure_file.unlink(missing_ok=True)
    trainer = TorchTrainer(
        lambda: train_worker(task),
        scaling_config=ScalingConfig(
            num_workers=workers.number,  # type: ignore[arg-type]  # ray.train types it as its old version
            use_gpu=workers.resources["GPU"] > 0,
            resources_per_worker=dict(workers.resources),
        ),
        run_config=RunConfig(  # type: ignore[call-arg]  # ray.train types it as its old version
            name=run.name,
            storage_path=run.settings.storage or str(run.folder.parent),
            failure_config=FailureConfig(max_failures=run.settings.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=run.settings.keep_checkpoints),
            logging_config=LoggingConfig(log_level="WARNING"),
        ),
    )
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", REPORT_INTERVAL_S)
    say(f"starting {workers}")
    with HistoryFollower(run, on_epoch, after=recorded):
        try:
            result = trainer.fit()
        except ray.train.TrainingFailedError as error:
            raise training_error(error, run) from error
        if result.checkpoint is not None:
            fetch_checkpoint(result.checkpoint, run)
    if failure := read_failure(run.failure_file):
        kept = f"; the last good checkpoint is {run.last_checkpoint}" if run.last_checkpoint.is_file() else ""
        raise type(failure)(f"{failure}{kept}")


def fetch_checkpoint(checkpoint: Checkpoint, run: Run) -> None:
    """Copies the latest state out of storage, and the best weights out of the state, where an epoch has ended.

    A worker that is killed between its last report and the history leaves the epoch to the state.
    """
    from app.checkpoint import load
    from app.train_state import save_best

    with TemporaryDirectory(dir=run.folder) as folder, checkpoint.as_directory() as stored:
        partial = Path(shutil.copyfile(Path(stored) / STATE_FILE, Path(folder) / STATE_FILE))
        history = load(partial)["history"]
        partial.replace(run.last_checkpoint)
    if history:
        save_best(run.last_checkpoint, run.best_checkpoint)
    if len(history) > len(run.history()):
        write_atomically(run.history_file, json.dumps(history))


def require_unused(storage: str, name: str) -> None:
    """Raises BadInput when another run's checkpoints lie there, which Ray Train would go on from, or nothing can."""
    import pyarrow
    from pyarrow.fs import FileSystem, FileType

    place = storage if "://" in storage else str(Path(storage).expanduser().absolute())
    try:
        filesystem, path = FileSystem.from_uri(place)
        found = filesystem.get_file_info(f"{path.rstrip('/')}/{name}")
    except (pyarrow.ArrowException, OSError) as error:
        raise BadInput(f"--storage {storage} cannot be used: {str(error).partition(chr(10))[0]}") from error
    if found.type != FileType.NotFound:
        raise BadInput(f"--storage {storage} holds a run {name!r} already: choose another --run")


def has_gpus(count: int) -> bool:
    return ray.cluster_resources().get("GPU", 0) >= count


def check_room(workers: Workers) -> None:
    """Says when workers will have to wait for room.

    Raises ClusterError when they would wait for ever: a local cluster does not grow.
    """
    total, free = ray.cluster_resources(), ray.available_resources()
    for name, each in workers.resources.items():
        needed = workers.fewest * each
        if needed > total.get(name, 0) and MARK in os.environ:
            raise ClusterError(
                f"{workers.fewest} workers need {needed:g} {name}s of the cluster's {total.get(name, 0):g}; "
                "pass fewer --workers, or `manta up --num-cpus N` for more logical CPUs"
            )
        if needed > free.get(name, 0):
            say(f"waiting for room: {workers.fewest} workers need {needed:g} {name}s, {free.get(name, 0):g} are free")


def training_error(error: ray.train.TrainingFailedError, run: Run) -> MantaError:
    """The cause behind Ray's wrapping, as one line that says how to go on."""
    failures: Mapping[int, Exception] = getattr(error, "worker_failures", {})
    first: BaseException = next(iter(failures.values()), getattr(error, "controller_failure", error))
    cause: BaseException | None = first
    while cause is not None and not isinstance(cause, MantaError):
        first, cause = cause, getattr(cause, "cause", None) or cause.__cause__
    if cause is not None:
        return cause
    reason = str(first).strip().splitlines()[-1] if str(first).strip() else type(first).__name__
    return MantaError(f"training failed ({reason}); go on with: manta train --resume {run.name}")
