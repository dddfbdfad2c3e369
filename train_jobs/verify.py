"""Measure a stored version again: checksums, parity with its own checkpoint, and the accuracy of every variant.

ray job submit --working-dir . -- python -m train_jobs.verify digits@champion
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from app.artifact import CHECKPOINT_FILE, Bundle, Variant, open_bundle
from app.conversion.answers import Answers, compare_answers
from app.conversion.variants import FP32, KINDS, load_variant
from app.datasets import Dataset
from app.evaluate import predict_in_batches
from app.gates import ACCURACY_LOSS_LIMIT, PARITY_LIMIT, VARIANT_LOSS_LIMIT, Gate, require
from app.options import run_job
from app.registry import Registry
from app.settings import VerifySettings
from train_jobs.data import dataset_for
from train_jobs.job import connect, finish, say


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A variant measured again."""

    name: str
    recorded_accuracy: float
    answers: Answers
    gates: list[Gate]


def main(settings: VerifySettings) -> None:
    home = connect().home
    version = Registry(home).resolve(settings.version)
    bundle = open_bundle(version.folder)
    say(f"checksums of {len(bundle.manifest.files)} files are right")
    dataset = dataset_for(bundle.manifest, settings.data, home)
    verified = verify(bundle, dataset)
    for each in verified:
        verdict = "holds" if all(gate.passed for gate in each.gates) else "DOES NOT HOLD"
        say(
            f"{each.name:>20}  accuracy {each.answers.accuracy:.2%} (recorded {each.recorded_accuracy:.2%})  "
            f"mean error {each.answers.mean_error:.1e}  {verdict}"
        )
    require([gate for each in verified for gate in each.gates])
    finish(
        {
            "version": version.reference,
            "files": len(bundle.manifest.files),
            "dataset_digest": dataset.digest,
            "variants": [
                {"name": each.name, "recorded_accuracy": each.recorded_accuracy, **asdict(each.answers)}
                for each in verified
            ],
        }
    )


def verify(bundle: Bundle, dataset: Dataset) -> list[Verified]:
    """Measures every variant of the bundle on the test split.

    The recorded accuracy counts only on the very data that it was measured on.
    """
    from app.checkpoint import read_model
    from app.conversion.bundling import torch_predict
    from app.models import ServingModel

    model = ServingModel(read_model(bundle.folder / CHECKPOINT_FILE)[1]).eval()
    reference = predict_in_batches(torch_predict(model), dataset.test.images)
    same_data = dataset.digest == bundle.manifest.lineage.measured_digest
    return [
        _verify_variant(bundle, name, variant, dataset, reference, same_data=same_data)
        for name, variant in bundle.manifest.variants.items()
        if variant.status == "ok"
    ]


def _verify_variant(
    bundle: Bundle, name: str, variant: Variant, dataset: Dataset, reference: np.ndarray, *, same_data: bool
) -> Verified:
    probabilities = predict_in_batches(load_variant(bundle.variant_path(name)), dataset.test.images)
    answers = compare_answers(probabilities, reference, dataset.test.labels)
    assert variant.accuracy is not None
    gates = [Gate(f"mean error of {name}", answers.mean_error, KINDS[name].error_limit)]
    if name == FP32:
        gates.append(Gate("difference of fp32 from the checkpoint", answers.max_error, PARITY_LIMIT))
    if same_data:
        limit = ACCURACY_LOSS_LIMIT if name == FP32 else VARIANT_LOSS_LIMIT
        gates.append(Gate(f"change of the accuracy of {name}", abs(answers.accuracy - variant.accuracy), limit))
    return Verified(name=name, recorded_accuracy=variant.accuracy, answers=answers, gates=gates)


if __name__ == "__main__":
    run_job(VerifySettings, main)
