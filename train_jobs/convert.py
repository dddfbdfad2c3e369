"""Convert a version, or the best checkpoint of a training run, into a new gated bundle and register it.

ray job submit --working-dir . -- python -m train_jobs.convert digits/1
"""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from app.artifact import CHECKPOINT_FILE, Lineage, Manifest, open_bundle
from app.atomic_folder import scratch
from app.config import Home
from app.conversion.variants import FP32, parse_variants
from app.datasets import Dataset
from app.errors import BadInput, GateFailed
from app.evaluation_report import write_evaluation_report
from app.gates import VARIANT_LOSS_LIMIT
from app.options import run_job
from app.registry import ModelVersion, Registry
from app.settings import ConvertSettings, DistillSettings, default_model_name
from train_jobs.data import dataset_for, dataset_to_train_on
from train_jobs.job import Stopwatch, connect, finish, recorded, say
from train_jobs.runs import Run, open_run

if TYPE_CHECKING:
    from app.conversion.bundling import Measured


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertedVersion:
    version: ModelVersion
    manifest: Manifest
    pytorch_accuracy: float
    onnx_accuracy: float
    """Of the fp32 graph."""
    baseline_accuracy: float
    """Of always answering the most frequent class of the test split."""

    def learned_nothing(self) -> str:
        return (
            f"its test accuracy of {self.onnx_accuracy:.2%} is no better than always answering the most frequent "
            f"class ({self.baseline_accuracy:.2%})"
        )

    def variants(self) -> list[dict[str, object]]:
        """The figures of every variant, fp32 first, as every job and `--json` give them."""
        return [{"name": name, **asdict(variant)} for name, variant in self.manifest.variants.items()]


def main(settings: ConvertSettings) -> None:
    home = connect().home
    watch = Stopwatch()
    converted = convert(settings, home)
    finish(
        {
            "version": converted.version.reference,
            "variants": converted.variants(),
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
    if settings.data is not None:
        raise BadInput("--data is for versions: a run is converted and measured on the data it was trained on")
    if not run.best_checkpoint.is_file():
        raise BadInput(f"run {run.name} is not finished; go on with: manta train --resume {run.name}")
    dataset = dataset_to_train_on(run.settings, home, digest=run.dataset_digest)
    return convert_run(
        run,
        dataset,
        name=settings.name,
        git_commit=settings.git_commit,
        home=home,
        registry=registry,
        variants=parse_variants(settings.variants),
        accuracy_loss_limit=settings.max_accuracy_loss,
    )


def convert_run(
    run: Run,
    dataset: Dataset,
    *,
    git_commit: str,
    home: Home,
    registry: Registry,
    name: str | None = None,
    variants: Sequence[str] = (),
    accuracy_loss_limit: float = VARIANT_LOSS_LIMIT,
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
            teacher=run.settings.teacher if isinstance(run.settings, DistillSettings) else "",
        ),
        home=home,
        registry=registry,
        report_folder=run.folder,
        variants=variants,
        accuracy_loss_limit=accuracy_loss_limit,
    )


def _convert_version(
    parent: ModelVersion, settings: ConvertSettings, home: Home, registry: Registry
) -> ConvertedVersion:
    bundle = open_bundle(parent.folder)
    trained = bundle.manifest.lineage
    dataset = dataset_for(bundle.manifest, settings.data, home)
    name = settings.name or parent.name
    run_id = registry.start_run(f"convert {parent.reference}", {"source": parent.reference, "name": name})
    with recorded(run_id, registry), tempfile.TemporaryDirectory() as folder:
        return convert_checkpoint(
            bundle.folder / CHECKPOINT_FILE,
            dataset,
            name=name,
            lineage=replace(
                trained,
                measured_on=dataset.digest if dataset.digest != trained.dataset_digest else "",
                git_commit=settings.git_commit,
                run_id=run_id,
                parent_version=parent.reference,
                command=settings.command or shlex.join(sys.orig_argv),
            ),
            home=home,
            registry=registry,
            report_folder=Path(folder),
            variants=parse_variants(settings.variants),
            accuracy_loss_limit=settings.max_accuracy_loss,
        )


def convert_checkpoint(
    checkpoint: Path,
    dataset: Dataset,
    *,
    name: str,
    lineage: Lineage,
    home: Home,
    registry: Registry,
    report_folder: Path,
    variants: Sequence[str] = (),
    accuracy_loss_limit: float = VARIANT_LOSS_LIMIT,
) -> ConvertedVersion:
    """Writes, measures and gates a bundle on the test split, then registers it under `lineage.run_id`.

    variants: besides the fp32 graph, which is always there. One that fails a gate is left out, and the manifest says
    why.
    Confusion matrix, table of classes and sheet of mistakes are left in `report_folder` and in MLflow.
    Raises GateFailed; then nothing is registered and nothing is left behind.
    """
    from app.checkpoint import read_model
    from app.conversion.bundling import (
        write_bundle,  # imports torch and the exporter: seconds that `--help` should not take
    )

    card, classifier = read_model(checkpoint)
    with scratch(home.bundles) as folder:
        say("exporting ONNX and measuring it on the test split")
        measured = write_bundle(folder, card, classifier, dataset.test, name=name, lineage=lineage)
        manifest = measured.manifest
        if extra := [variant for variant in variants if variant != FP32]:
            manifest = with_variants(folder, measured, extra, dataset, accuracy_loss_limit)
        registry.log_metrics(
            lineage.run_id,
            {
                "test_accuracy_pytorch": measured.pytorch_accuracy,
                "test_accuracy_onnx": measured.onnx_accuracy,
                "parameters": sum(each.numel() for each in classifier.parameters()),
            },
        )
        title = f"{name}: {card.architecture} on {dataset.name}"
        for file in write_evaluation_report(report_folder, measured.probabilities, dataset.test, dataset.labels, title):
            registry.log_file(lineage.run_id, file)
        # Last: what fails before is tried again without a second version.
        version = registry.register(lineage.run_id, folder, manifest)
    say(
        f"gates passed: test accuracy {measured.onnx_accuracy:.2%} (PyTorch {measured.pytorch_accuracy:.2%}), "
        f"largest difference {measured.max_error:.1e}"
    )
    say(f"registered {version.reference}")
    converted = ConvertedVersion(
        version=version,
        manifest=manifest,
        pytorch_accuracy=measured.pytorch_accuracy,
        onnx_accuracy=measured.onnx_accuracy,
        baseline_accuracy=float(np.bincount(dataset.test.labels).max() / len(dataset.test.labels)),
    )
    if converted.onnx_accuracy <= converted.baseline_accuracy:
        say(f"warning: {version.reference} has learned nothing yet: {converted.learned_nothing()}")
    return converted


def require_learned(converted: ConvertedVersion) -> None:
    """Raises GateFailed for a model that has learned nothing; it stays registered, without an alias."""
    if converted.onnx_accuracy <= converted.baseline_accuracy:
        raise GateFailed(f"{converted.version.reference} is not promoted: {converted.learned_nothing()}")


def with_variants(
    folder: Path, measured: Measured, names: Sequence[str], dataset: Dataset, accuracy_loss_limit: float
) -> Manifest:
    """The bundle in `folder` with more variants, as far as they passed their gates."""
    from app.conversion.bundling import add_variants
    from train_jobs.variants import build_variants

    built = build_variants(names, folder, dataset, measured.reference, accuracy_loss_limit=accuracy_loss_limit)
    say("measuring latency, all variants in turns")
    manifest = add_variants(
        folder, measured.manifest, built, dataset.test.images, accuracy_loss_limit=accuracy_loss_limit
    )
    for name, variant in manifest.variants.items():
        if variant.status == "rejected":
            say(f"  {name} is rejected: {variant.reason}")
    return manifest


if __name__ == "__main__":
    run_job(ConvertSettings, main)
