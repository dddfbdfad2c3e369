"""The C++ engine against Python: its library per image, its server per request, and how near that is to the limit.

    make engine && python -m benchmarks.engine --json engine.json

All on one bundle and the same JPEGs. The library and Python's ONNX Runtime classify encoded images in turns, on one
thread. Then the engine's server (one event loop) and plain Starlette on uvicorn answer `/predict` with JSON from the
same load generator, in turns; what counts is CPU time of the server, which other work on the machine hardly changes.
The limit of a server is the CPU time of decoding, preprocessing and running one image by itself.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil

from app.artifact import open_bundle
from app.errors import NotFound
from app.imaging import decode, resize
from app.inference import OnnxClassifier
from app.options import run_job
from app.predictions import top_predictions
from app.settings.checks import require
from benchmarks.figures import Figures, Ratio, Row, quotients
from benchmarks.images import write_class_folders
from benchmarks.machine import Machine, versions
from benchmarks.processes import cpu_seconds
from benchmarks.report import Report
from benchmarks.serving_bundle import write_bundles
from benchmarks.serving_peers.routes import JSON, OWN_ROUTES
from benchmarks.serving_peers.running import wait_for_answer
from cluster.ports import free_port

PACKAGES = ("onnxruntime", "opencv-python-headless", "starlette", "uvicorn", "numpy")
BUILD = Path(__file__).parents[1] / "build" / "engine"
IMAGES = 200
BATCHES = (1, 32)
CONNECTIONS = 32
WARM_UP_SECONDS = 1.0
PREDICT = OWN_ROUTES[JSON]


@dataclass(frozen=True, kw_only=True)
class EngineBenchmark:
    """What is measured."""

    bundle: str | None = None
    """Folder of a bundle. Unless given, custom_cnn with random weights for 32x32 images and 10 classes."""
    build: str = str(BUILD)
    """Folder in which the engine was built."""
    rounds: int = 5
    """How often everything is measured."""
    seconds: float = 3.0
    """Of each measurement of a server."""
    images: int = 2000
    """In each measurement of a library."""
    json: str | None = None
    """File for the results."""

    def __post_init__(self) -> None:
        require(self.rounds >= 1, "--rounds must be at least 1")
        require(self.seconds > 0, "--seconds must be above 0")
        require(self.images >= max(BATCHES), f"--images must be at least {max(BATCHES)}")


@dataclass(frozen=True, slots=True)
class Served:
    """A server under load for some seconds."""

    requests: int
    cpu_seconds: float
    p50_ms: float
    p99_ms: float
    resident_mb: float

    @property
    def per_cpu_second(self) -> float:
        return self.requests / self.cpu_seconds


@dataclass(slots=True)
class Measured:
    """Microseconds an image by batch size, and servers; one of each a round."""

    library_wall: dict[int, list[float]] = field(default_factory=lambda: {size: [] for size in BATCHES})
    library_cpu: dict[int, list[float]] = field(default_factory=lambda: {size: [] for size in BATCHES})
    python_wall: dict[int, list[float]] = field(default_factory=lambda: {size: [] for size in BATCHES})
    python_cpu: dict[int, list[float]] = field(default_factory=lambda: {size: [] for size in BATCHES})
    limit: list[float] = field(default_factory=list)
    engine: list[Served] = field(default_factory=list)
    starlette: list[Served] = field(default_factory=list)


def main(settings: EngineBenchmark) -> None:
    machine = Machine.here()
    programs = Path(settings.build) / "bin"
    if not (programs / "manta-engine-server").is_file():
        raise NotFound(f"the engine is not built in {settings.build}: `make engine` does that")
    with tempfile.TemporaryDirectory(prefix="manta-benchmark-") as name:
        folder = Path(name)
        files = sorted(write_class_folders(folder / "images", {"test": IMAGES // 10}).rglob("*.jpg"))
        if settings.bundle:
            bundle = Path(settings.bundle)
        else:  # what a network answers does not change how long that takes
            bundle = write_bundles(folder / "bundles", [file.read_bytes() for file in files])[0].folder
        report = report_of(measured(settings, programs, bundle, files, folder), machine)
    print(f"\n{report}")
    if settings.json:
        report.write(Path(settings.json))


def measured(settings: EngineBenchmark, programs: Path, bundle: Path, files: Sequence[Path], folder: Path) -> Measured:
    images = [file.read_bytes() for file in files]
    body = folder / "body.json"
    body.write_bytes(PREDICT.encode(images))
    cv2.setNumThreads(1)
    model = OnnxClassifier.from_bundle(open_bundle(bundle))
    results = Measured()
    with engine_server(programs, bundle, body) as engine, plain_server(bundle, body) as starlette:
        for number in range(settings.rounds):
            print(f"round {number + 1} of {settings.rounds}", flush=True)
            for size in BATCHES:
                ours = library_round(programs, bundle, files, settings.images, size)
                results.library_wall[size].append(ours["wall_us_per_image"])
                results.library_cpu[size].append(ours["cpu_us_per_image"])
                wall, cpu = python_round(model, images, settings.images, size)
                results.python_wall[size].append(wall)
                results.python_cpu[size].append(cpu)
                if size == 1:
                    results.limit.append(limit_of(ours))
            results.engine.append(load(programs, engine, body, settings.seconds))
            results.starlette.append(load(programs, starlette, body, settings.seconds))
    return results


def library_round(programs: Path, bundle: Path, files: Sequence[Path], images: int, size: int) -> dict[str, Any]:
    """One `manta-engine --benchmark`, decoding included."""
    command = [str(programs / "manta-engine"), "--model", str(bundle), "--benchmark", "--json", "--batch", str(size)]
    command += ["--iterations", str(images // size)]
    for file in files:
        command += ["--image", str(file)]
    answer: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return answer


def limit_of(benchmark: dict[str, Any]) -> float:
    """CPU microseconds an image of decoding, preprocessing and running: their share of all stages' time."""
    means = {name: stage["mean_ms"] for name, stage in benchmark["stages"].items()}
    stages = means["decode"] + means["preprocess"] + means["run"]
    return float(benchmark["cpu_us_per_image"] * min(1.0, stages / benchmark["call"]["mean_ms"]))


def python_round(model: OnnxClassifier, images: Sequence[bytes], count: int, size: int) -> tuple[float, float]:
    """(wall, CPU) microseconds an image: decode, resize, run, pick the best."""
    shape, labels = model.manifest.input, model.manifest.labels

    def classify(encoded: Sequence[bytes]) -> None:
        pixels = [resize(decode(data), shape.height, shape.width) for data in encoded]
        for row in model.predict(np.stack(pixels)):
            top_predictions(row, labels, 5)

    def batches(number: int) -> Iterator[list[bytes]]:
        for start in range(0, number * size, size):
            yield [images[index % len(images)] for index in range(start, start + size)]

    for batch in batches(10):
        classify(batch)
    runs = count // size
    wall, cpu = time.perf_counter(), time.process_time()
    for batch in batches(runs):
        classify(batch)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return wall * 1e6 / (runs * size), cpu * 1e6 / (runs * size)


@dataclass(frozen=True, slots=True)
class Server:
    process: psutil.Process
    port: int


@contextlib.contextmanager
def engine_server(programs: Path, bundle: Path, body: Path) -> Iterator[Server]:
    port = free_port()
    options = ["--model", str(bundle), "--port", str(port), "--loops", "1"]
    with running([str(programs / "manta-engine-server"), *options], port, body) as server:
        yield server


@contextlib.contextmanager
def plain_server(bundle: Path, body: Path) -> Iterator[Server]:
    port = free_port()
    with running([sys.executable, "-m", "benchmarks.plain_server", str(bundle), str(port)], port, body) as server:
        yield server


@contextlib.contextmanager
def running(command: Sequence[str], port: int, body: Path) -> Iterator[Server]:
    """Answering when the block begins, ended with it. body: what it is asked."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            wait_for_answer(f"http://127.0.0.1:{port}", PREDICT, body.read_bytes(), server=process)
            yield Server(psutil.Process(process.pid), port)
        finally:
            process.terminate()
            process.wait(timeout=60)


def load(programs: Path, server: Server, body: Path, seconds: float) -> Served:
    """CPU time and requests of the same seconds, after a warm-up. Raises when any request failed."""

    def run(duration: float) -> dict[str, Any]:
        target = [str(server.port), PREDICT.path, PREDICT.content_type, str(body)]
        command = [str(programs / "manta-load"), *target, str(CONNECTIONS), str(duration)]
        answer: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        if answer["errors"]:
            raise RuntimeError(f"{answer['errors']} requests failed: {answer['first_error']}")
        return answer

    run(WARM_UP_SECONDS)
    before = cpu_seconds([server.process])
    answer = run(seconds)
    return Served(
        requests=answer["requests"],
        cpu_seconds=cpu_seconds([server.process]) - before,
        p50_ms=answer["p50_ms"],
        p99_ms=answer["p99_ms"],
        resident_mb=server.process.memory_info().rss / 1e6,
    )


def report_of(results: Measured, machine: Machine) -> Report:
    ours = [served.per_cpu_second for served in results.engine]
    theirs = [served.per_cpu_second for served in results.starlette]
    request_us = [1e6 / value for value in ours]
    rows = []
    for size in BATCHES:
        for name, wall, cpu in (
            ("library", results.library_wall, results.library_cpu),
            ("Python onnxruntime", results.python_wall, results.python_cpu),
        ):
            rows.append(Row(f"batch {size}, an image, wall: {name}", "us", Figures.of(wall[size])))
            rows.append(Row(f"batch {size}, an image, CPU: {name}", "us", Figures.of(cpu[size])))
    rows.append(Row("limit: decode + preprocess + run, CPU", "us", Figures.of(results.limit)))
    for name, servers in (("engine server", results.engine), ("Starlette + uvicorn", results.starlette)):
        rows += [
            Row(f"requests a CPU second: {name}", "1/s", Figures.of([one.per_cpu_second for one in servers])),
            Row(f"CPU a request: {name}", "us", Figures.of([1e6 / one.per_cpu_second for one in servers])),
            Row(f"p50 at {CONNECTIONS} clients: {name}", "ms", Figures.of([one.p50_ms for one in servers])),
            Row(f"p99 at {CONNECTIONS} clients: {name}", "ms", Figures.of([one.p99_ms for one in servers])),
            Row(f"memory: {name}", "MB", Figures.of([one.resident_mb for one in servers])),
        ]
    return Report(
        machine=machine,
        versions=versions(PACKAGES),
        rows=rows,
        ratios=[
            Ratio("server_vs_starlette_per_core", quotients(ours, theirs), bar=2, better="higher"),
            Ratio("server_vs_limit", quotients(results.limit, request_us), bar=0.4, better="higher"),
            Ratio(
                "library_vs_python_onnxruntime",
                quotients(results.python_cpu[1], results.library_cpu[1]),
                bar=1.2,
                better="higher",
            ),
        ],
    )


if __name__ == "__main__":
    run_job(EngineBenchmark, main)
