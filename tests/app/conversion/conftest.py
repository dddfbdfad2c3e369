"""A dense network trained on digits, and its finished fp32 bundle: what the tests of variants start from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from app.artifact import CHECKPOINT_FILE, MODEL_FILE, Lineage
from app.conversion.answers import Answers, compare_answers
from app.conversion.builders import Sources
from app.conversion.bundling import Measured, write_bundle
from app.conversion.variants import load_variant
from app.datasets import Dataset, prepare
from app.evaluate import predict_in_batches
from app.settings import FitSettings
from app.training import fit
from tests.app.tiny_data import one_thread


@dataclass(frozen=True, slots=True)
class DenseDigits:
    dataset: Dataset
    folder: Path
    measured: Measured

    @property
    def checkpoint(self) -> Path:
        return self.folder / CHECKPOINT_FILE

    @property
    def sources(self) -> Sources:
        return Sources(
            fp32=self.folder / MODEL_FILE,
            dataset=self.dataset,
            accuracy_loss_limit=0.003,
        )


def answers_of(path: Path, dense_digits: DenseDigits) -> Answers:
    test = dense_digits.dataset.test
    probabilities = predict_in_batches(load_variant(path), test.images)
    return compare_answers(probabilities, dense_digits.measured.reference, test.labels)


@pytest.fixture(scope="session")
def dense_digits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DenseDigits]:
    root = tmp_path_factory.mktemp("digits")
    with one_thread():
        dataset = prepare("digits", cache=root / "datasets")
        settings = FitSettings(model="dense_cnn", epochs=4, batch_size=64)
        trained = fit(settings, dataset, device=torch.device("cpu"))
        (root / "bundle").mkdir()
        measured = write_bundle(
            root / "bundle",
            trained.card,
            trained.model,
            dataset.test,
            name="digits",
            lineage=Lineage(dataset="digits", dataset_digest=dataset.digest),
        )
        yield DenseDigits(dataset, root / "bundle", measured)
