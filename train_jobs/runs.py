"""The folder of a training run: its settings, its history, and where Ray Train keeps its checkpoints."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from app.atomic_file import write_atomically
from app.checkpoint import EpochReport
from app.config import Home
from app.errors import BadInput, BrokenBundle, NotFound
from app.options import given_options
from app.run_progress import RunProgress
from app.settings import DistillSettings, RunSettings, TrainSettings, default_run_name

HISTORY_FILE = "history.json"
PROGRESS_FILE = "progress.json"
FAILURE_FILE = "failure.json"
KINDS: dict[str, type[TrainSettings]] = {"train": TrainSettings, "distill": DistillSettings}
"""Settings of a run, by the job that made it."""


@dataclass(frozen=True, slots=True)
class Run:
    """`folder` also is Ray Train's storage: it finds its latest checkpoint there when a run goes on."""

    folder: Path
    settings: TrainSettings
    tracking_run_id: str
    """The one MLflow run, kept over every restart."""
    dataset_digest: str = ""
    """Of what it is trained on; empty for a trial, whose sweep has it."""
    version: str = ""
    """What the finished run registered."""

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def kind(self) -> str:
        """train or distill."""
        return next(kind for kind, settings in KINDS.items() if type(self.settings) is settings)

    @property
    def history_file(self) -> Path:
        return self.folder / HISTORY_FILE

    @property
    def progress_file(self) -> Path:
        """The share of the current epoch that is done, now and then."""
        return self.folder / PROGRESS_FILE

    @property
    def failure_file(self) -> Path:
        """What a worker found that starting again would not mend."""
        return self.folder / FAILURE_FILE

    @property
    def best_checkpoint(self) -> Path:
        return self.folder / "best.pt"

    @property
    def last_checkpoint(self) -> Path:
        return self.folder / "last.pt"

    @property
    def curves_file(self) -> Path:
        return self.folder / "curves.png"

    def save(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {
            "kind": self.kind,
            "settings": asdict(self.settings),
            "tracking_run_id": self.tracking_run_id,
            "dataset_digest": self.dataset_digest,
            "version": self.version,
        }
        write_atomically(self.folder / "run.json", json.dumps(content, indent=2))

    def history(self) -> list[EpochReport]:
        """Epochs finished so far; written by rank 0, read by the driver."""
        if not self.history_file.is_file():
            return []
        return [EpochReport(**report) for report in json.loads(self.history_file.read_text(encoding="utf-8"))]

    def progress(self, epoch: int) -> dict[str, float]:
        """At the end of this epoch, as metrics; none before the history has it."""
        history = [report for report in self.history() if report.epoch <= epoch]
        return asdict(RunProgress.of(history)) if history else {}


def open_run(home: Home, name: str) -> Run:
    """Raises NotFound with the names there are, or BrokenBundle for a damaged `run.json`."""
    folder = home.runs / name
    try:
        content = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        settings = KINDS[content["kind"]](**content["settings"])
        return Run(folder, settings, content["tracking_run_id"], content.get("dataset_digest", ""), content["version"])
    except FileNotFoundError as error:
        have = ", ".join(sorted(path.parent.name for path in home.runs.glob("*/run.json"))[-5:]) or "none"
        raise NotFound(f"there is no training run {name!r} (latest: {have})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BrokenBundle(f"{folder / 'run.json'} is damaged: {error}") from error


def run_to_resume(home: Home, settings: TrainSettings) -> Run:
    """Raises BadInput for a finished run, and when other settings than `--resume` are given: they would be ignored."""
    assert settings.resume is not None
    require_only_resume(settings, "run")
    run = open_run(home, settings.resume)
    if run.version:
        raise BadInput(f"run {run.name} is finished: it is {run.version}")
    return run


def require_only_resume(settings: RunSettings, what: str) -> None:
    """Raises BadInput when other settings are given beside `--resume`. what: run or sweep."""
    others = given_options(dataclasses.replace(settings, resume=None, git_commit="", command=""))
    if others:
        raise BadInput(f"--resume goes on with the {what}'s own settings; leave out {' '.join(others)}")


def new_run_name(settings: RunSettings, dataset: str) -> str:
    """A name of letters, digits, dots, dashes: it is a folder. Raises BadInput for one the user gave that is not."""
    if settings.run is None:
        return default_run_name(dataset)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", settings.run):
        raise BadInput(
            f"--run {settings.run!r:.120} may hold letters, digits, dots, dashes and underscores only, 100 at most"
        )
    return settings.run
