"""The variants of a bundle, built and measured as parallel tasks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray

from app.artifact import CHECKPOINT_FILE, MODEL_FILE
from app.atomic_folder import scratch
from app.config import CPU
from app.conversion.answers import compare_answers
from app.conversion.builders import Sources, build, is_tflite, trace_tflite
from app.conversion.bundling import Built
from app.conversion.variants import KINDS, load_variant
from app.datasets import Dataset, load
from app.errors import BadInput, MantaError
from app.evaluate import predict_in_batches
from train_jobs.job import say


def build_variants(
    names: Sequence[str], folder: Path, dataset: Dataset, reference: np.ndarray, *, accuracy_loss_limit: float
) -> list[Built]:
    """Leaves their files beside the bundle's own in `folder`, which every node sees.

    reference: float32 [N, C], the PyTorch model's answers to the test split.
    Raises BadInput for data that nothing can be calibrated on. Whatever else stops one variant does not stop others.
    """
    say(f"building {', '.join(names)}")
    known = ray.put(reference)
    # Ray would try for ever again what is killed for its memory.
    as_task = ray.remote(num_cpus=CPU.conversion_task, max_retries=0)
    trace, task = as_task(_trace_tflite), as_task(_build)
    with scratch(folder.parent) as beside:
        traced: Any = trace.remote(folder / CHECKPOINT_FILE, beside) if any(map(is_tflite, names)) else None
        waiting = {}
        for name in names:
            begins_with = traced if is_tflite(name) else None
            waiting[task.remote(name, folder, dataset.folder, known, accuracy_loss_limit, begins_with)] = name
        built = _collect(waiting)
    return [built[name] for name in names]


def _collect(waiting: dict[ray.ObjectRef[Built], str]) -> dict[str, Built]:
    """What came of each task. Raises BadInput where a task did."""
    built = {}
    left = list(waiting)
    while left:
        (done,), left = ray.wait(left)
        name = waiting[done]
        try:
            built[name] = ray.get(done)
        except ray.exceptions.RayError as error:  # of the task, or because its process died
            cause = getattr(error, "cause", None) or error
            if isinstance(cause, BadInput):
                raise cause from error
            built[name] = Built(name=name, failure=f"it cannot be built: {_reason(cause)}")
        say(f"  {name}: {built[name].failure or 'built'}")
    return built


def _trace_tflite(checkpoint: Path, folder: Path) -> Path:
    """On a worker."""
    file = folder / KINDS["tflite"].file
    trace_tflite(checkpoint, file)
    return file


def _build(
    name: str,
    folder: Path,
    dataset_folder: Path,
    reference: np.ndarray,
    accuracy_loss_limit: float,
    traced: Path | None,
) -> Built:
    """On a worker."""
    dataset = load(dataset_folder)
    out = folder / KINDS[name].file
    sources = Sources(
        fp32=folder / MODEL_FILE,
        dataset=dataset,
        accuracy_loss_limit=accuracy_loss_limit,
        tflite=traced,
    )
    made_with = build(name, sources, out)
    probabilities = predict_in_batches(load_variant(out), dataset.test.images)
    return Built(name=name, answers=compare_answers(probabilities, reference, dataset.test.labels), made_with=made_with)


def _reason(error: BaseException) -> str:
    """One line of an exporter's many."""
    if isinstance(error, MantaError):
        return str(error)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
