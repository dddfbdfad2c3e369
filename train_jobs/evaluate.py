"""Evaluate a version's ONNX graph on held-out images: accuracy, per-class report, confusion matrix.

ray job submit --working-dir . -- python -m train_jobs.evaluate digits@champion
"""

from __future__ import annotations

from dataclasses import asdict

from app.artifact import open_bundle
from app.conversion.variants import load_variant
from app.datasets import Split
from app.evaluate import evaluate, predict_in_batches
from app.options import run_job
from app.registry import Registry
from app.settings import EvaluateSettings
from train_jobs.data import dataset_for
from train_jobs.job import connect, finish, say


def main(settings: EvaluateSettings) -> None:
    home = connect().home
    version = Registry(home).resolve(settings.version)
    bundle = open_bundle(version.folder)
    dataset = dataset_for(bundle.manifest, settings.data, home)
    name = settings.data or bundle.manifest.lineage.dataset
    split: Split = getattr(dataset, settings.split)
    predict = load_variant(bundle.variant_path(settings.variant))
    measured = evaluate(predict_in_batches(predict, split.images), split.labels, dataset.labels)
    for row in measured.classes:
        confused = f"  mostly taken for {row.most_confused_with}" if row.most_confused_with else ""
        say(f"{row.label:>20}  {row.count:>6} images  precision {row.precision:.2%}  recall {row.recall:.2%}{confused}")
    say(f"accuracy {measured.accuracy:.2%}, loss {measured.loss:.4f} on {settings.split} of {name}")
    finish(
        {
            "version": version.reference,
            "variant": settings.variant,
            "split": settings.split,
            "dataset_digest": dataset.digest,
            "accuracy": measured.accuracy,
            "loss": measured.loss,
            "classes": [asdict(row) for row in measured.classes],
            "confusion": measured.confusion.tolist(),
        }
    )


if __name__ == "__main__":
    run_job(EvaluateSettings, main)
