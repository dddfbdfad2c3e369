"""Formats of one or more versions side by side: size, accuracy, error, latency, throughput, memory."""

from __future__ import annotations

import dataclasses
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from app.artifact import CHECKPOINT_FILE, Bundle
from app.conversion.answers import compare_answers
from app.conversion.latency import interleaved_seconds
from app.conversion.variants import load_variant
from app.datasets import Dataset
from app.edge_engine import EdgeEngine, find_engine
from app.errors import MantaError
from app.evaluate import Predict, predict_in_batches
from app.peak_memory import COMPILED, PYTORCH

BATCH_SIZES = (1, 32)
SECONDS = 4.0
"""Of measuring each batch size, all candidates in turns."""
ENGINE_MS = 1000.0
"""Of measuring the C++ engine, for each file and batch size."""
ROUNDS = 100
"""At least, with a single image: fewer say nothing about the slowest of a hundred."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that answers: a file, and how to run it with a number of threads."""

    version: str
    name: str
    path: Path
    load: Callable[[int], Predict]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One candidate's figures. None where it was rejected or did not run; latency is that of one thread."""

    version: str
    name: str
    status: str = "ok"
    reason: str = ""
    bytes: int | None = None
    accuracy: float | None = None
    max_error: float | None = None
    mean_error: float | None = None
    latency_ms: dict[str, float] = field(default_factory=dict)
    """Median, by batch size."""
    p99_ms: float | None = None
    """Of one image."""
    images_per_second: float | None = None
    """In batches of 32."""
    peak_memory_bytes: int | None = None
    """Of a process that has loaded nothing but the runtime and the model, and answered batches of 32."""

    @property
    def label(self) -> str:
        return f"{self.version} {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    data: str
    test_images: int
    rows: tuple[Row, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "data": self.data,
            "test_images": self.test_images,
            "variants": [asdict(row) for row in self.rows],
        }


def compare(bundles: Sequence[tuple[str, Bundle]], dataset: Dataset, *, data: str) -> Comparison:
    """bundles: (name of the version, its bundle), all of the classes and input size of `dataset`."""
    rows: list[Row] = []
    ready: dict[str, Predict] = {}
    answered: dict[str, np.ndarray] = {}
    test = dataset.test
    for version, bundle in bundles:
        reference = None
        for candidate in candidates(version, bundle):
            row, predict, probabilities = _answers(candidate, test.images, test.labels, reference)
            if candidate.name == PYTORCH:
                reference = probabilities
            rows.append(row)
            if predict is not None and probabilities is not None:
                ready[row.label], answered[row.label] = predict, probabilities
        rows += [
            Row(version=version, name=name, status="rejected", reason=variant.reason, bytes=variant.bytes)
            for name, variant in bundle.manifest.variants.items()
            if variant.status == "rejected"
        ]
    timed = {
        size: interleaved_seconds(ready, test.images, size, seconds=SECONDS, rounds=ROUNDS if size == 1 else 5)
        for size in BATCH_SIZES
    }
    timed_rows = [_with_speed(row, timed) for row in rows]
    engine = find_engine()
    if engine is not None:
        for version, bundle in bundles:
            files = [row for row in timed_rows if row.version == version and row.name in bundle.manifest.variants]
            timed_rows += [
                _engine_row(engine, bundle, row, answered[row.label], test.images, test.labels)
                for row in files
                if row.label in answered and bundle.variant_path(row.name).suffix == ".onnx"
            ]
    return Comparison(data=data, test_images=len(test.labels), rows=tuple(timed_rows))


def _engine_row(
    program: Path, bundle: Bundle, file: Row, reference: np.ndarray, images: np.ndarray, labels: np.ndarray
) -> Row:
    """The C++ engine on one ONNX file of the bundle, for about as long as others; reference: what the file answers."""
    row = Row(version=file.version, name=f"engine-{file.name}", bytes=file.bytes)
    engine = EdgeEngine(program, bundle.folder, file.name)
    try:
        probabilities = engine.probabilities(images, bundle.manifest.labels)
        one, many = (
            engine.timing(size, iterations=max(ROUNDS, round(ENGINE_MS / file.latency_ms[str(size)])))
            for size in BATCH_SIZES
        )
    except MantaError as error:
        return dataclasses.replace(row, status="failed", reason=str(error))
    answers = compare_answers(probabilities, reference, labels)
    return dataclasses.replace(
        row,
        accuracy=answers.accuracy,
        max_error=answers.max_error,
        mean_error=answers.mean_error,
        latency_ms={"1": one.p50_ms, "32": many.p50_ms},
        p99_ms=one.p99_ms,
        images_per_second=32_000 / many.p50_ms,
        peak_memory_bytes=many.peak_memory_bytes,
    )


def candidates(version: str, bundle: Bundle) -> list[Candidate]:
    """PyTorch, eager and compiled, and every variant that passed its gates."""
    checkpoint = bundle.folder / CHECKPOINT_FILE
    found = [
        Candidate(version, PYTORCH, checkpoint, lambda threads: load_pytorch(checkpoint, threads, compiled=False)),
        Candidate(version, COMPILED, checkpoint, lambda threads: load_pytorch(checkpoint, threads, compiled=True)),
    ]
    for name, variant in bundle.manifest.variants.items():
        if variant.status == "ok":
            path = bundle.variant_path(name)
            found.append(Candidate(version, name, path, lambda threads, path=path: load_variant(path, threads=threads)))  # type: ignore[misc]
    return found


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points (cost, gain) that no other one beats in both, from the cheapest on."""
    front: list[int] = []
    for index in sorted(range(len(points)), key=lambda number: (points[number][0], -points[number][1])):
        if not front or points[index][1] > points[front[-1]][1]:
            front.append(index)
    return front


def _answers(
    candidate: Candidate, images: np.ndarray, labels: np.ndarray, reference: np.ndarray | None
) -> tuple[Row, Predict | None, np.ndarray | None]:
    """Its figures, and how to ask it again and what it answered, unless it failed."""
    try:
        predict = candidate.load(1)
        probabilities = predict_in_batches(predict, images)
    except MantaError as error:
        return Row(version=candidate.version, name=candidate.name, status="failed", reason=str(error)), None, None
    answers = compare_answers(probabilities, probabilities if reference is None else reference, labels)
    return (
        Row(
            version=candidate.version,
            name=candidate.name,
            bytes=candidate.path.stat().st_size,
            accuracy=answers.accuracy,
            max_error=answers.max_error,
            mean_error=answers.mean_error,
            peak_memory_bytes=peak_memory(candidate, images.shape[1:3]),
        ),
        predict,
        probabilities,
    )


def _with_speed(row: Row, timed: dict[int, dict[str, list[float]]]) -> Row:
    if row.label not in timed[1]:
        return row
    latency = {str(size): 1000 * statistics.median(times[row.label]) for size, times in timed.items()}
    return dataclasses.replace(
        row,
        latency_ms=latency,
        p99_ms=1000 * float(np.quantile(timed[1][row.label], 0.99)),
        images_per_second=32_000 / latency["32"],
    )


def load_pytorch(checkpoint: Path, threads: int, *, compiled: bool) -> Predict:
    import torch

    from app.checkpoint import read_model
    from app.conversion.bundling import torch_predict
    from app.models import ServingModel
    from app.training import require_compiler

    torch.set_num_threads(threads)
    model = ServingModel(read_model(checkpoint)[1]).eval()
    model.to(memory_format=torch.channels_last)
    if compiled:
        require_compiler(torch.device("cpu"))
        model.compile(dynamic=True)
    return torch_predict(model)


def peak_memory(candidate: Candidate, size: tuple[int, ...]) -> int | None:
    """Largest resident set, in bytes, of a fresh process that runs this candidate alone; None when it failed."""
    command = [sys.executable, "-m", "app.peak_memory", candidate.name, str(candidate.path), *map(str, size)]
    ended = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    return int(ended.stdout) if ended.returncode == 0 else None
