"""A compressed model against the one it was made of: bytes, accuracy, latency.

    python -m benchmarks.conversion --json conversion.json

Without versions it trains a dense network on digits, prunes it with its own answers as the teacher, and quantizes what
is left; on a cluster of its own, which it ends. The latency of both is measured in turns, and each ratio taken within
a round.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.artifact import Bundle, open_bundle
from app.cli.output import Output
from app.cli.session import Session, session
from app.config import Home
from app.conversion.latency import interleaved_seconds
from app.conversion.variants import FP32, load_variant
from app.errors import BadInput
from app.evaluate import Predict, accuracy, predict_in_batches
from app.options import run_job
from app.registry import Registry
from app.settings.checks import require
from benchmarks.figures import Figures, Ratio, Row, quotients
from benchmarks.home import own_home
from benchmarks.machine import Machine, versions
from benchmarks.report import Report
from train_jobs.data import dataset_of

PACKAGES = ("ray", "torch", "onnx", "onnxruntime", "torch-pruning")
FIT = ("--data", "digits", "--recipe", "standard", "--epochs", "8", "--batch-size", "64", "--workers", "1")
TEACHER = (*FIT, "--name", "original")
PRUNING = (*FIT, "--remove", "0.5", "--steps", "1", "--run", "smaller")
ROUNDS = 15
SECONDS = 0.3
"""Of each round and batch size."""
SIZES = (1, 32)


@dataclass(frozen=True, kw_only=True)
class ConversionBenchmark:
    """What is measured."""

    original: str | None = None
    """A registered version in MANTA_HOME. Unless given, one is trained on digits."""
    compressed: str | None = None
    """The version that was made of it."""
    json: str | None = None
    """File for the results."""

    def __post_init__(self) -> None:
        require((self.original is None) == (self.compressed is None), "--original and --compressed go with each other")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """Both bundles, and the graph of each that is measured: fp32, and the fastest that passed its gates."""

    original: Bundle
    compressed: Bundle

    @property
    def variant(self) -> str:
        """Of the compressed one, by its own measurements; TFLite files are for other devices."""
        passed = {
            name: variant.latency_ms["1"]
            for name, variant in self.compressed.manifest.variants.items()
            if variant.status == "ok" and variant.file.endswith(".onnx") and "1" in variant.latency_ms
        }
        return min(passed, key=lambda name: passed[name])

    @property
    def files(self) -> tuple[Path, Path]:
        return self.original.variant_path(FP32), self.compressed.variant_path(self.variant)


def main(settings: ConversionBenchmark) -> None:
    machine, output = Machine.here(), Output(as_json=False)
    with _sides(settings, output) as (home, sides):
        report = measured(home, sides, machine, output)
    print(f"\n{report}")
    if settings.json:
        report.write(Path(settings.json))


@contextlib.contextmanager
def _sides(settings: ConversionBenchmark, output: Output) -> Iterator[tuple[Home, Sides]]:
    if settings.original and settings.compressed:
        registry = Registry(Home.from_env())
        bundles = [open_bundle(registry.resolve(name).folder) for name in (settings.original, settings.compressed)]
        yield Home.from_env(), Sides(original=bundles[0], compressed=bundles[1])
        return
    with own_home():
        with session(output) as started:
            names = compressed_on_digits(started, output)
        registry = Registry(Home.from_env())
        bundles = [open_bundle(registry.resolve(name).folder) for name in names]
        yield Home.from_env(), Sides(original=bundles[0], compressed=bundles[1])


def compressed_on_digits(started: Session, output: Output) -> tuple[str, str]:
    """(original, compressed) versions: trained, pruned and distilled, quantized."""
    output.say("training the original on digits")
    original = started.run_job("train_jobs.train", list(TEACHER), output)["version"]
    output.say(f"pruning {original}, with its answers as the teacher")
    pruned = started.run_job("train_jobs.prune", [*PRUNING, original], output)["version"]
    output.say(f"quantizing {pruned}")
    return original, started.run_job("train_jobs.convert", ["--variants", "int8", pruned], output)["version"]


def measured(home: Home, sides: Sides, machine: Machine, output: Output) -> Report:
    if sides.original.manifest.labels != sides.compressed.manifest.labels:
        raise BadInput("both versions must have the same classes")
    test = dataset_of(sides.original.manifest, home).test
    original, compressed = (load_variant(file) for file in sides.files)
    bytes_of = [file.stat().st_size for file in sides.files]
    accuracies = [accuracy(predict_in_batches(side, test.images), test.labels) for side in (original, compressed)]
    output.say(f"measuring latency of both in turns, {ROUNDS} rounds")
    latency = {
        size: [_round({"original": original, "compressed": compressed}, test.images, size) for _ in range(ROUNDS)]
        for size in SIZES
    }
    rows = []
    for index, side in enumerate(("original", "compressed")):
        label = f"{side} ({FP32 if index == 0 else sides.variant})"
        rows += [
            Row(f"bytes: {label}", "bytes", Figures.of([bytes_of[index]])),
            Row(f"test accuracy: {label}", "", Figures.of([accuracies[index]])),
            *(
                Row(f"batch {size}, one thread: {label}", "ms", Figures.of([1000 * one[side] for one in rounds]))
                for size, rounds in latency.items()
            ),
        ]
    single = latency[1]
    return Report(
        machine=machine,
        versions=versions(PACKAGES),
        rows=rows,
        ratios=[
            Ratio("bytes_vs_original", Figures.of([bytes_of[1] / bytes_of[0]]), bar=0.25),
            Ratio("accuracy_vs_original", Figures.of([accuracies[1] / accuracies[0]]), bar=0.95, better="higher"),
            Ratio(
                "latency_vs_original",
                quotients([one["compressed"] for one in single], [one["original"] for one in single]),
                bar=0.5,
            ),
        ],
    )


def _round(graphs: Mapping[str, Predict], images: np.ndarray, size: int) -> dict[str, float]:
    """Median seconds of one run of each."""
    times = interleaved_seconds(graphs, images, size, seconds=SECONDS)
    return {name: statistics.median(each) for name, each in times.items()}


if __name__ == "__main__":
    run_job(ConversionBenchmark, main)
