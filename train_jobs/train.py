"""Train a model on labelled images with Ray Train and register it as a new version.

ray job submit --working-dir . -- python -m train_jobs.train --data digits --epochs 2
"""

from __future__ import annotations

import dataclasses
import shlex
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from app.artifact import CHECKPOINT_FILE, read_manifest
from app.batches import with_defaults
from app.checkpoint import EpochReport, best_epoch
from app.config import Home
from app.datasets import Dataset
from app.errors import BadInput, NotFound
from app.evaluate import accuracy
from app.models import architecture, build_net
from app.options import run_job
from app.registry import Registry
from app.run_lock import locked
from app.run_records import KIND_TAG
from app.settings import DistillSettings, TrainSettings
from app.system_metrics import system_metrics
from train_jobs.convert import ConvertedVersion, convert_run
from train_jobs.data import dataset_to_train_on
from train_jobs.job import Stopwatch, connect, finish, recorded, say, torch_device
from train_jobs.ray_training import fit_on_ray, require_unused
from train_jobs.runs import Run, new_run_name, run_to_resume
from train_jobs.teachers import TeacherTask, prepare_teacher


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedVersion:
    """What the job leaves behind."""

    run: Run
    dataset: Dataset
    history: list[EpochReport]
    converted: ConvertedVersion
    tta_accuracy: float | None
    """Test accuracy with test-time augmentation, when it was asked for."""
    train_seconds: float
    convert_seconds: float
    tracking_uri: str

    @property
    def best(self) -> EpochReport:
        return best_epoch(self.history)


def main(settings: TrainSettings) -> None:
    report(train(settings, connect().home))


def report(trained: TrainedVersion) -> None:
    """The job's result."""
    finish(result_of(trained))


def result_of(trained: TrainedVersion) -> dict[str, object]:
    """As `--json` gives it."""
    version = trained.converted.version
    return {
        "version": version.reference,
        "run": trained.run.name,
        "epochs": len(trained.history),
        "val_accuracy": trained.best.val_accuracy,
        "variants": trained.converted.variants(),
        "test_accuracy": {"pytorch": trained.converted.pytorch_accuracy, "onnx": trained.converted.onnx_accuracy},
        "test_accuracy_tta": trained.tta_accuracy,
        "seconds": {"train": round(trained.train_seconds, 2), "convert": round(trained.convert_seconds, 2)},
        "artifacts": str(version.folder),
        "run_folder": str(trained.run.folder),
        "curves": str(trained.run.curves_file),
        "tracking_uri": trained.tracking_uri,
    }


def train(settings: TrainSettings, home: Home) -> TrainedVersion:
    """Data -> Ray Train -> best checkpoint -> gated bundle -> a version in the registry.

    With DistillSettings the workers learn from the teacher's answers too.
    """
    architecture(settings.model)  # a misspelt name is said before any image is read
    resumed = run_to_resume(home, settings) if settings.resume else None
    registry = Registry(home)
    settings = resumed.settings if resumed else with_references(settings, registry)
    digest = resumed.dataset_digest if resumed else teachers_digest(settings, registry)
    dataset = dataset_to_train_on(settings, home, digest=digest)
    check_fits(settings, dataset)
    settings = with_defaults(settings, len(dataset.train.labels), settings.worker_range[1])
    teacher = (
        prepare_teacher(settings, registry.resolve(settings.teacher), dataset, home)
        if isinstance(settings, DistillSettings)
        else None
    )
    # A run that has come to an epoch goes on from its own weights.
    initial = None if resumed and resumed.history() else initial_weights(settings, registry)
    run = resumed or start_run(settings, dataset, home, registry)
    with locked(run.folder), recorded(run.tracking_run_id, registry):
        if resumed:
            registry.reopen_run(run.tracking_run_id)
            say(f"going on with run {run.name}, which has come to epoch {len(run.history())}")
        return trained_version(run, dataset, teacher, initial, home, registry)


def trained_version(
    run: Run, dataset: Dataset, teacher: TeacherTask | None, initial: Path | None, home: Home, registry: Registry
) -> TrainedVersion:
    """Trains what is left of the run, and registers its best epoch."""
    watch = Stopwatch()
    with system_metrics(run.tracking_run_id, registry.tracking_uri):
        fit_on_ray(
            run,
            dataset,
            on_epoch=lambda report: show_epoch(report, run, registry),
            teacher=teacher,
            initial=initial,
            recorded=int(registry.metric(run.tracking_run_id, "epochs_done") or 0),
        )
    train_seconds = watch.restart()
    history = run.history()
    draw_and_log_curves(run, history, dataset, registry)
    best = best_epoch(history)
    say(f"best epoch {best.epoch}: validation accuracy {best.val_accuracy:.2%}")
    tta_accuracy = measure_tta(run, dataset, registry) if run.settings.tta else None
    converted = convert_run(run, dataset, git_commit=run.settings.git_commit, home=home, registry=registry)
    dataclasses.replace(run, version=converted.version.reference).save()
    return TrainedVersion(
        run=run,
        dataset=dataset,
        history=history,
        converted=converted,
        tta_accuracy=tta_accuracy,
        train_seconds=train_seconds,
        convert_seconds=watch.restart(),
        tracking_uri=registry.tracking_uri,
    )


def with_references(settings: TrainSettings, registry: Registry) -> TrainSettings:
    """`--init` and the teacher as what they are now: an alias may name another version by the time the run goes on."""
    if settings.init is not None:
        file = Path(settings.init).expanduser().absolute()
        init = str(file) if file.is_file() else registry.resolve(settings.init).reference
        settings = dataclasses.replace(settings, init=init)
    if isinstance(settings, DistillSettings):
        settings = dataclasses.replace(settings, teacher=registry.resolve(settings.teacher).reference)
    return settings


def teachers_digest(settings: TrainSettings, registry: Registry) -> str:
    """Of the data that the teacher was trained on, where none is given; else empty."""
    if settings.data or not isinstance(settings, DistillSettings):
        return ""
    return read_manifest(registry.resolve(settings.teacher).folder).lineage.dataset_digest


def initial_weights(settings: TrainSettings, registry: Registry) -> Path | None:
    """The checkpoint that `--init` names, as `with_references` leaves it. Raises NotFound for one that is gone."""
    if settings.init is None:
        return None
    file = Path(settings.init)
    if not file.is_absolute():
        return registry.resolve(settings.init).folder / CHECKPOINT_FILE
    if not file.is_file():
        raise NotFound(f"the file {file}, whose weights the run was to begin with, is gone")
    return file


def measure_tta(run: Run, dataset: Dataset, registry: Registry) -> float:
    """Test accuracy with test-time augmentation: never mixed up with the plain one, which is what is served."""
    from app.batches import DeviceSplit
    from app.checkpoint import read_model
    from app.validation import predict

    device = torch_device()
    model = read_model(run.best_checkpoint)[1].to(device)
    probabilities = predict(model, DeviceSplit(dataset.test, device), tta=True, mirror=dataset.mirror_ok)
    measured = accuracy(probabilities, dataset.test.labels)
    registry.log_metrics(run.tracking_run_id, {"test_accuracy_tta": measured})
    say(f"test accuracy with test-time augmentation {measured:.2%}")
    return measured


def check_fits(settings: TrainSettings, dataset: Dataset) -> None:
    """Raises BadInput before any worker starts, for what every worker would refuse."""
    build_net(settings.model, len(dataset.labels), dataset.input_size, dropout=settings.dropout)
    workers = settings.worker_range[1]
    if len(dataset.train.labels) < 2 * workers:
        raise BadInput(f"{len(dataset.train.labels)} training images are too few for {workers} workers")


def start_run(settings: TrainSettings, dataset: Dataset, home: Home, registry: Registry) -> Run:
    name = new_run_name(settings, dataset.name)
    if (home.runs / name / "run.json").exists():
        raise BadInput(f"run {name!r} exists already: go on with --resume {name}, or choose another --run")
    if settings.storage:
        require_unused(settings.storage, name)
    settings = dataclasses.replace(settings, command=settings.command or shlex.join(sys.orig_argv))
    run = Run(home.runs / name, settings, "", dataset.digest)
    params = {**asdict(settings), "data": settings.data or dataset.name, "dataset_digest": dataset.digest}
    run = dataclasses.replace(run, tracking_run_id=registry.start_run(name, params, tags={KIND_TAG: run.kind}))
    run.save()
    say(f"run {name}")
    return run


def show_epoch(report: EpochReport, run: Run, registry: Registry) -> None:
    metrics = {name: value for name, value in asdict(report).items() if name != "epoch"}
    registry.log_metrics(run.tracking_run_id, {**metrics, **run.progress(report.epoch)}, step=report.epoch)
    say(
        f"epoch {report.epoch:>3}/{run.settings.epochs}  loss {report.train_loss:.3f}  "
        f"train {report.train_accuracy:.2%}  val {report.val_accuracy:.2%}  "
        f"{report.images_per_second:,.0f} images/s"
    )


def draw_and_log_curves(run: Run, history: list[EpochReport], dataset: Dataset, registry: Registry) -> None:
    from app.curves import draw_curves

    draw_curves(history, run.curves_file, f"{run.settings.model} on {dataset.name} ({run.name})")
    registry.log_file(run.tracking_run_id, run.curves_file)


if __name__ == "__main__":
    run_job(TrainSettings, main)
