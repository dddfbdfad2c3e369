"""Train a model on labelled images with Ray Train and register it as a new version.

ray job submit --working-dir . -- python -m train_jobs.train --data digits --epochs 2
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import ray
import ray.train
from ray.train import CheckpointConfig, FailureConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from app.batches import with_defaults
from app.checkpoint import STATE_FILE, EpochReport, best_epoch
from app.config import CPU, Home
from app.datasets import Dataset
from app.errors import BadInput, ClusterError, MantaError
from app.models import architecture, build_net
from app.options import run_job
from app.registry import Registry
from app.settings import FitSettings, TrainSettings
from cluster.environment import MARK
from train_jobs.convert import ConvertedVersion, convert_run
from train_jobs.data import prepare_on_cluster
from train_jobs.history import HistoryFollower
from train_jobs.job import Stopwatch, connect, finish, say
from train_jobs.runs import Run, locked, new_run_name, run_to_resume
from train_jobs.worker import WorkerTask, train_worker


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedVersion:
    """What the job leaves behind."""

    run: Run
    dataset: Dataset
    history: list[EpochReport]
    converted: ConvertedVersion
    train_seconds: float
    convert_seconds: float
    tracking_uri: str

    @property
    def best(self) -> EpochReport:
        return best_epoch(self.history)


def main(settings: TrainSettings) -> None:
    home = connect().home
    trained = train(settings, home)
    version = trained.converted.version
    finish(
        {
            "version": version.reference,
            "run": trained.run.name,
            "epochs": len(trained.history),
            "val_accuracy": trained.best.val_accuracy,
            "variants": [trained.converted.summary()],
            "test_accuracy": {"pytorch": trained.converted.pytorch_accuracy, "onnx": trained.converted.onnx_accuracy},
            "seconds": {"train": round(trained.train_seconds, 2), "convert": round(trained.convert_seconds, 2)},
            "artifacts": str(version.folder),
            "run_folder": str(trained.run.folder),
            "curves": str(trained.run.curves_file),
            "tracking_uri": trained.tracking_uri,
        }
    )


def train(settings: TrainSettings, home: Home) -> TrainedVersion:
    """Data -> Ray Train -> best checkpoint -> gated bundle -> a version in the registry."""
    watch = Stopwatch()
    architecture(settings.model)  # a misspelt name is said before any image is read
    resumed = run_to_resume(home, settings) if settings.resume else None
    settings = resumed.settings if resumed else settings
    dataset = prepare_on_cluster(settings, home, seed=settings.seed)
    check_fits(settings, dataset)
    registry = Registry(home)
    settings = with_defaults(settings, len(dataset.train.labels), settings.workers)
    run = resumed or start_run(settings, dataset, home, registry)
    with locked(run), recorded(run, registry):
        if resumed:
            registry.reopen_run(run.tracking_run_id)
            say(f"going on with run {run.name} after epoch {len(run.history())}")
        watch.restart()
        fit_on_ray(run, dataset, registry)
        train_seconds = watch.restart()
        history = run.history()
        draw_and_log_curves(run, history, registry)
        best = best_epoch(history)
        say(f"best epoch {best.epoch}: validation accuracy {best.val_accuracy:.2%}")
        converted = convert_run(run, dataset, git_commit=settings.git_commit, home=home, registry=registry)
        dataclasses.replace(run, version=converted.version.reference).save()
    return TrainedVersion(
        run=run,
        dataset=dataset,
        history=history,
        converted=converted,
        train_seconds=train_seconds,
        convert_seconds=watch.restart(),
        tracking_uri=registry.tracking_uri,
    )


@contextlib.contextmanager
def recorded(run: Run, registry: Registry) -> Iterator[None]:
    """Closes the run's record in MLflow with how the block ended."""
    try:
        yield
    except KeyboardInterrupt:
        registry.end_run(run.tracking_run_id, "KILLED")
        raise
    except BaseException:
        registry.end_run(run.tracking_run_id, "FAILED")
        raise
    registry.end_run(run.tracking_run_id, "FINISHED")


def check_fits(settings: TrainSettings, dataset: Dataset) -> None:
    """Raises BadInput before any worker starts, for what every worker would refuse."""
    build_net(settings.model, len(dataset.labels), dataset.input_size, dropout=settings.dropout)
    if len(dataset.train.labels) < 2 * settings.workers:
        raise BadInput(f"{len(dataset.train.labels)} training images are too few for {settings.workers} workers")


def start_run(settings: TrainSettings, dataset: Dataset, home: Home, registry: Registry) -> Run:
    name = new_run_name(settings, dataset.name)
    if (home.runs / name / "run.json").exists():
        raise BadInput(f"run {name!r} exists already: go on with --resume {name}, or choose another --run")
    params = {**asdict(settings), "dataset_digest": dataset.digest}
    run = Run(home.runs / name, settings, registry.start_run(name, params))
    run.save()
    say(f"run {name}")
    return run


def fit_on_ray(run: Run, dataset: Dataset, registry: Registry) -> None:
    """Trains on workers and leaves `best.pt` and `last.pt` in the run's folder.

    Raises the first worker's MantaError as it is, and MantaError for any other failure.
    """
    settings = run.settings
    gpu = has_gpus(settings.workers) if settings.gpu is None else settings.gpu
    resources = {"CPU": CPU.train_worker, "GPU": float(gpu)}
    check_room(settings.workers, resources)
    task = WorkerTask(
        fit=FitSettings(**{field.name: getattr(settings, field.name) for field in dataclasses.fields(FitSettings)}),
        dataset=dataset.folder,
        history=run.history_file,
        progress=run.progress_file,
        threads=settings.threads or max(1, (os.cpu_count() or 1) // settings.workers),
    )
    trainer = TorchTrainer(
        lambda: train_worker(task),
        scaling_config=ScalingConfig(num_workers=settings.workers, use_gpu=gpu, resources_per_worker=resources),
        run_config=RunConfig(  # type: ignore[call-arg]  # ray.train types it as its old version
            name=run.name,
            storage_path=str(run.folder.parent),
            failure_config=FailureConfig(max_failures=settings.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=1, checkpoint_score_attribute="score"),
            logging_config=LoggingConfig(log_level="WARNING"),
        ),
    )
    # How often the controller takes in reports; at its default of 2 s an epoch of 0.2 s would wait 1.8 s.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.1")
    say(f"starting {settings.workers} training worker{'s' * (settings.workers > 1)}")
    with HistoryFollower(run, lambda report: show_epoch(report, run, registry)):
        try:
            result = trainer.fit()
        except ray.train.TrainingFailedError as error:
            raise training_error(error, run) from error
    assert result.checkpoint is not None
    best, _ = max(result.best_checkpoints or [], key=lambda pair: pair[1]["score"])
    shutil.copyfile(Path(best.path) / STATE_FILE, run.best_checkpoint)
    shutil.copyfile(Path(result.checkpoint.path) / STATE_FILE, run.last_checkpoint)


def has_gpus(count: int) -> bool:
    return ray.cluster_resources().get("GPU", 0) >= count


def check_room(workers: int, resources: Mapping[str, float]) -> None:
    """Says when workers will have to wait for room.

    Raises ClusterError when they would wait for ever: a local cluster does not grow.
    """
    total, free = ray.cluster_resources(), ray.available_resources()
    for name, each in resources.items():
        needed = workers * each
        if needed > total.get(name, 0) and MARK in os.environ:
            raise ClusterError(
                f"{workers} workers need {needed:g} {name}s of the cluster's {total.get(name, 0):g}; "
                "pass fewer --workers, or `manta up --num-cpus N` for more logical CPUs"
            )
        if needed > free.get(name, 0):
            say(f"waiting for room: {workers} workers need {needed:g} {name}s, {free.get(name, 0):g} are free")


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


def show_epoch(report: EpochReport, run: Run, registry: Registry) -> None:
    say(
        f"epoch {report.epoch:>3}/{run.settings.epochs}  loss {report.train_loss:.3f}  "
        f"train {report.train_accuracy:.2%}  val {report.val_accuracy:.2%}  "
        f"{report.images_per_second:,.0f} images/s"
    )
    metrics = {name: value for name, value in asdict(report).items() if name != "epoch"}
    registry.log_metrics(run.tracking_run_id, metrics, step=report.epoch)


def draw_and_log_curves(run: Run, history: list[EpochReport], registry: Registry) -> None:
    from app.curves import draw_curves

    draw_curves(history, run.curves_file, f"{run.settings.model} on {run.settings.data} ({run.name})")
    registry.log_file(run.tracking_run_id, run.curves_file)


if __name__ == "__main__":
    run_job(TrainSettings, main)
