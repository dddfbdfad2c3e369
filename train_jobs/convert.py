"""Convert a version, or the best checkpoint of a training run, into a new gated bundle and register it.

ray job submit --working-dir . -- python -m train_jobs.convert digits/1
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.artifact import CHECKPOINT_FILE, Lineage, open_bundle
from app.config import Home
from app.datasets import Dataset
from app.errors import BadInput
from app.evaluation_report import write_evaluation_report
from app.options import run_job
from app.registry import ModelVersion, Registry
from app.settings import ConvertSettings, DistillSettings, default_model_name
from train_jobs.data import dataset_for, prepare_on_cluster
from train_jobs.job import Stopwatch, connect, finish, say
from train_jobs.runs import Run, open_run


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertedVersion:
    version: ModelVersion
    pytorch_accuracy: float
    onnx_accuracy: float
    bytes: int
    """Size of the fp32 graph."""
    max_error: float
    latency_ms: dict[str, float]
    baseline_accuracy: float
    """Of always answering the most frequent class of the test split."""

    def learned_nothing(self) -> str:
        return (
            f"its test accuracy of {self.onnx_accuracy:.2%} is no better than always answering the most frequent "
            f"class ({self.baseline_accuracy:.2%})"
        )

    def summary(self) -> dict[str, object]:
        """The figures of the variants, as every job and `--json` give them."""
        return {
            "name": "fp32",
            "status": "ok",
            "reason": "",
            "accuracy": self.onnx_accuracy,
            "bytes": self.bytes,
            "max_error": self.max_error,
            "latency_ms": self.latency_ms,
        }


def main(settings: ConvertSettings) -> None:
    home = connect().home
    watch = Stopwatch()
    converted = convert(settings, home)
    finish(
        {
            "version": converted.version.reference,
            "variants": [converted.summary()],
            "test_accuracy": {"pytorch": converted.pytorch_accuracy, "onnx": converted.onnx_accuracy},
            "seconds": {"convert": round(watch.restart(), 2)},
            "artifacts": str(converted.version.folder),
        }
    )


def convert(settings: ConvertSettings, home: Home) -> ConvertedVersion:
    registry = Registry(home)
    if (home.runs / settings.source / "run.json").is_file():
        return _convert_run(open_run(home, settings.source), settings, home, registry)
    return _convert_version(registry.resolve(settings.source), settings, home, registry)


def _convert_run(run: Run, settings: ConvertSettings, home: Home, registry: Registry) -> ConvertedVersion:
    if not run.best_checkpoint.is_file():
        raise BadInput(f"run {run.name} is not finished; go on with: manta train --resume {run.name}")
    dataset = prepare_on_cluster(run.settings, home, seed=run.settings.seed)
    teacher = run.settings.teacher if isinstance(run.settings, DistillSettings) else ""
    return convert_run(
        run,
        dataset,
        name=settings.name,
        git_commit=settings.git_commit,
        home=home,
        registry=registry,
        teacher=teacher and registry.resolve(teacher).reference,
    )


def convert_run(
    run: Run,
    dataset: Dataset,
    *,
    git_commit: str,
    home: Home,
    registry: Registry,
    name: str | None = None,
    teacher: str = "",
) -> ConvertedVersion:
    """The best checkpoint of a finished run as a version, named as the run says unless `name` is given."""
    return convert_checkpoint(
        run.best_checkpoint,
        dataset,
        name=name or run.settings.name or default_model_name(dataset.name),
        lineage=Lineage(
            dataset=dataset.name,
            dataset_digest=dataset.digest,
            git_commit=git_commit,
            run_id=run.tracking_run_id,
            command=run.settings.command,
            teacher=teacher,
        ),
        home=home,
        registry=registry,
        report_folder=run.folder,
    )


def _convert_version(
    parent: ModelVersion, settings: ConvertSettings, home: Home, registry: Registry
) -> ConvertedVersion:
    bundle = open_bundle(parent.folder)
    dataset = dataset_for(bundle.manifest, settings.data, home)
    name = settings.name or parent.name
    run_id = registry.start_run(f"convert {parent.reference}", {"source": parent.reference, "name": name})
    try:
        with tempfile.TemporaryDirectory() as folder:
            converted = convert_checkpoint(
                bundle.folder / CHECKPOINT_FILE,
                dataset,
                name=name,
                lineage=Lineage(
                    dataset=bundle.manifest.lineage.dataset,
                    dataset_digest=bundle.manifest.lineage.dataset_digest,
                    git_commit=settings.git_commit,
                    run_id=run_id,
                    parent_version=parent.reference,
                ),
                home=home,
                registry=registry,
                report_folder=Path(folder),
            )
    except BaseException:
        registry.end_run(run_id, "FAILED")
        raise
    registry.end_run(run_id, "FINISHED")
    return converted


def convert_checkpoint(
    checkpoint: Path,
    dataset: Dataset,
    *,
    name: str,
    lineage: Lineage,
    home: Home,
    registry: Registry,
    report_folder: Path,
) -> ConvertedVersion:
    """Writes, measures and gates a bundle on the test split, then registers it under `lineage.run_id`.

    Confusion matrix, table of classes and sheet of mistakes are left in `report_folder` and in MLflow.
    Raises GateFailed; then nothing is registered and nothing is left behind.
    """
    from app.bundling import write_bundle  # imports torch and the exporter: seconds that `--help` should not take
    from app.checkpoint import read_model

    card, classifier = read_model(checkpoint)
    home.bundles.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=home.bundles))
    try:
        say("exporting ONNX and measuring it on the test split")
        measured = write_bundle(folder, card, classifier, dataset.test, name=name, lineage=lineage)
        version = registry.register(lineage.run_id, folder, measured.manifest)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    fp32 = measured.manifest.variants["fp32"]
    registry.log_metrics(
        lineage.run_id,
        {
            "test_accuracy_pytorch": measured.pytorch_accuracy,
            "test_accuracy_onnx": fp32.accuracy,
            "parameters": sum(each.numel() for each in classifier.parameters()),
        },
    )
    report = write_evaluation_report(
        report_folder,
        measured.probabilities,
        dataset.test,
        dataset.labels,
        f"{card.architecture} on {dataset.name} ({version.reference})",
    )
    for file in report:
        registry.log_file(lineage.run_id, file)
    say(
        f"gates passed: test accuracy {fp32.accuracy:.2%} (PyTorch {measured.pytorch_accuracy:.2%}), "
        f"largest difference {measured.max_error:.1e}"
    )
    say(f"registered {version.reference}")
    converted = ConvertedVersion(
        version=version,
        pytorch_accuracy=measured.pytorch_accuracy,
        onnx_accuracy=fp32.accuracy,
        bytes=fp32.bytes,
        max_error=measured.max_error,
        latency_ms=fp32.latency_ms,
        baseline_accuracy=float(np.bincount(dataset.test.labels).max() / len(dataset.test.labels)),
    )
    if converted.onnx_accuracy <= converted.baseline_accuracy:
        say(f"warning: {version.reference} has learned nothing yet: {converted.learned_nothing()}")
    return converted


if __name__ == "__main__":
    run_job(ConvertSettings, main)
