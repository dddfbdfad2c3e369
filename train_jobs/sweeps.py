"""The folder of a sweep: its settings, its trials, and where Ray Tune keeps its state."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from app.atomic_file import write_atomically
from app.config import Home
from app.errors import BrokenBundle, NotFound
from app.settings import RunSettings, SweepSettings, TrainSettings
from app.settings.parts import part
from train_jobs.failure import read_failure
from train_jobs.runs import Run

SWEEP_FILE = "sweep.json"
TUNE_FOLDER = "tune"


@dataclass(frozen=True, slots=True)
class Sweep:
    """One sweep. Trials are training runs below `trials_folder`, named by Ray Tune's trial id."""

    folder: Path
    settings: SweepSettings
    """With the defaults filled in that follow from the data."""
    tracking_run_id: str
    """The parent of the trials' MLflow runs, kept over every restart."""
    dataset_digest: str = ""
    """Of what every trial is trained on."""
    finished: bool = False

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def tune_folder(self) -> Path:
        return self.folder / TUNE_FOLDER

    @property
    def trials_folder(self) -> Path:
        return self.folder / "trials"

    @property
    def report_file(self) -> Path:
        return self.folder / "report.json"

    @property
    def plot_file(self) -> Path:
        return self.folder / "report.png"

    @property
    def recipe_file(self) -> Path:
        """The best settings, as `--recipe` takes them."""
        return self.folder / "best.yaml"

    def trial(self, trial_id: str, config: dict[str, Any], *, threads: int = 1) -> Run:
        """The training run of a trial; `config` holds its own settings. `TrialRecords` has its MLflow id."""
        values = {**asdict(part(self.settings, RunSettings)), **config, "threads": threads, "run": trial_id}
        if self.settings.search == "pbt":  # the state of an epoch has to be there when it is handed over
            values |= {"checkpoint_epochs": 1, "keep_checkpoints": max(10, self.settings.keep_checkpoints)}
        return Run(self.trials_folder / trial_id, TrainSettings(**values), tracking_run_id="")

    def save(self) -> None:
        self.trials_folder.mkdir(parents=True, exist_ok=True)
        content = {
            "settings": asdict(self.settings),
            "tracking_run_id": self.tracking_run_id,
            "dataset_digest": self.dataset_digest,
            "finished": self.finished,
        }
        write_atomically(self.folder / SWEEP_FILE, json.dumps(content, indent=2))


def outcome(trial: Run) -> tuple[Literal["finished", "stopped", "failed"], str]:
    """How a trial ended, and why when it failed."""
    if failure := read_failure(trial.failure_file):
        return "failed", str(failure)
    history = trial.history()
    if not history:
        return "failed", "it ended before its first epoch; see Ray's logs"
    assert trial.settings.epochs is not None
    return ("finished" if history[-1].epoch >= trial.settings.epochs else "stopped"), ""


def open_sweep(home: Home, name: str) -> Sweep:
    """Raises NotFound with the names there are, or BrokenBundle for a damaged file."""
    folder = home.sweeps / name
    try:
        content = json.loads((folder / SWEEP_FILE).read_text(encoding="utf-8"))
        settings = content["settings"]
        settings = SweepSettings(**{**settings, "space": tuple(settings["space"])})
        digest = content.get("dataset_digest", "")
        return Sweep(folder, settings, content["tracking_run_id"], digest, content["finished"])
    except FileNotFoundError as error:
        have = ", ".join(sorted(path.parent.name for path in home.sweeps.glob(f"*/{SWEEP_FILE}"))[-5:]) or "none"
        raise NotFound(f"there is no sweep {name!r} (latest: {have})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BrokenBundle(f"{folder / SWEEP_FILE} is damaged: {error}") from error
