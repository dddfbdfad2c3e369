"""Training on Ray against the same loop without Ray, and Ray Data against torchvision.

    python -m benchmarks.training --json training.json

Starts a cluster of its own and ends it. The arrangements are trained in turns, in the other order every other
round, and each ratio is taken within a round, so that other work on the machine slows down both of its sides.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from app.cli.output import Output
from app.cli.session import Session, session
from app.config import Home
from app.datasets import check_source, prepare
from app.options import run_job
from app.settings.checks import require
from app.settings.fit import DEFAULT_ARCHITECTURE
from benchmarks.figures import Figures, Ratio, Row, quotients
from benchmarks.home import own_home
from benchmarks.images import write_class_folders
from benchmarks.machine import Machine, versions
from benchmarks.report import Report
from benchmarks.timed_decoding import TimedDecoding, decode_in_turns
from benchmarks.timed_training import Recipe, TimedTraining, train_alone, train_on_ray

PACKAGES = ("ray", "torch", "torchvision", "opencv-python-headless", "numpy")
THREADS = 2
DECODINGS = 5
ALONE, ONE, TWO = "loop without Ray, 2 threads", "Ray, 1 worker of 2 threads", "Ray, 2 workers of 1 thread"


@dataclass(frozen=True, kw_only=True)
class TrainingBenchmark:
    """What is measured."""

    data: str | None = None
    """Folder or zip of class folders. Unless given, 10,000 synthetic JPEGs of 32x32."""
    model: str = DEFAULT_ARCHITECTURE
    """Architecture; a small one, so that overhead cannot hide behind it."""
    epochs: int = 4
    """Of each training; the first one is left out."""
    rounds: int = 5
    """How often each arrangement is trained."""
    json: str | None = None
    """File for the results."""

    def __post_init__(self) -> None:
        require(self.epochs >= 3, "--epochs must be at least 3")
        require(self.rounds >= 1, "--rounds must be at least 1")


@dataclass(slots=True)
class Measured:
    """Trainings by arrangement, one a round."""

    trainings: dict[str, list[TimedTraining]] = field(default_factory=lambda: {ALONE: [], ONE: [], TWO: []})

    def epochs(self, arrangement: str) -> list[float]:
        """Seconds of every steady epoch."""
        return [seconds for training in self.trainings[arrangement] for seconds in training.epoch_seconds]

    def by_round(self, arrangement: str) -> list[float]:
        """Median seconds of the steady epochs in each round."""
        return [Figures.of(training.epoch_seconds).median for training in self.trainings[arrangement]]

    def shares(self, arrangement: str) -> list[float]:
        return [share for training in self.trainings[arrangement] for share in training.compute_shares]

    def startups(self, arrangement: str) -> list[float]:
        return [training.startup_seconds for training in self.trainings[arrangement]]

    def rows(self) -> list[Row]:
        return [
            *(Row(f"steady epoch: {name}", "s", Figures.of(self.epochs(name))) for name in self.trainings),
            *(Row(f"compute share: {name}", "", Figures.of(self.shares(name))) for name in self.trainings),
            *(Row(f"start-up: {name}", "s", Figures.of(self.startups(name))) for name in self.trainings),
        ]

    def ratios(self) -> list[Ratio]:
        alone = self.by_round(ALONE)
        return [
            Ratio("ray_one_worker_vs_loop", quotients(self.by_round(ONE), alone), bar=1.05),
            Ratio("ray_two_workers_vs_two_threads", quotients(self.by_round(TWO), alone), bar=1.15),
            Ratio("compute_share", Figures.of(self.shares(ONE)), bar=0.95, better="higher"),
        ]


def main(settings: TrainingBenchmark) -> None:
    machine, output = Machine.here(), Output(as_json=False)
    with own_home() as folder, session(output) as started:
        data = _data(settings.data, folder, output)
        decoding = _decodings(started, data, output)
        measured = _trainings(started, settings, data, folder, output)
    report = Report(
        machine=machine,
        versions=versions(PACKAGES),
        rows=[*measured.rows(), *_decoding_rows(decoding)],
        ratios=[
            *measured.ratios(),
            Ratio("decode_vs_torchvision", quotients(decoding.ray, decoding.torchvision), bar=1.0),
        ],
    )
    print(f"\n{report}")
    if settings.json:
        report.write(Path(settings.json))


def _data(source: str | None, folder: Path, output: Output) -> Path:
    """A folder of class folders: torchvision reads no zip."""
    if source is None:
        output.say("writing 10,000 synthetic JPEGs")
        return write_class_folders(folder / "images")
    check_source(source)
    path = Path(source).expanduser().absolute()
    if path.is_dir():
        return path
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder / "images")
    return folder / "images"


def _decodings(started: Session, data: Path, output: Output) -> TimedDecoding:
    output.say(f"decoding with Ray Data and with torchvision, {DECODINGS} times in turns")
    return decode_in_turns(started, data, DECODINGS)


def _decoding_rows(timed: TimedDecoding) -> list[Row]:
    return [
        Row("decode all: Ray Data", "s", Figures.of(timed.ray)),
        Row("decode all: Ray Data, workers start too", "s", Figures.of([timed.first])),
        Row("decode all: torchvision, 2 loader workers", "s", Figures.of(timed.torchvision)),
    ]


def _trainings(started: Session, settings: TrainingBenchmark, data: Path, folder: Path, output: Output) -> Measured:
    measured = Measured()
    recipe = Recipe(data=data, epochs=settings.epochs, model=settings.model)
    prepare(str(data), cache=Home.from_env().datasets)
    for number in range(settings.rounds):
        for name in (ALONE, ONE, TWO)[:: -1 if number % 2 else 1]:
            output.say(f"round {number + 1} of {settings.rounds}: {name}")
            run = f"round{number + 1}-{(ALONE, ONE, TWO).index(name)}"
            measured.trainings[name].append(_train(started, recipe, name, run, folder))
    return measured


def _train(started: Session, recipe: Recipe, name: str, run: str, folder: Path) -> TimedTraining:
    if name == ALONE:
        return train_alone(recipe, threads=THREADS, out=folder / run)
    workers = 1 if name == ONE else 2
    return train_on_ray(started, recipe, workers=workers, threads=THREADS // workers, run=run)


if __name__ == "__main__":
    run_job(TrainingBenchmark, main)
