"""Training runs, sweeps and trials, as MLflow and the folders of the home keep them."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, cast

from app.config import Home
from app.errors import NotFound
from app.mlflow_store import every, one_line_errors, open_client, tracking_uri
from app.registry import EXPERIMENT, PARENT_TAG
from app.run_lock import is_locked

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun

KIND_TAG = "manta.kind"
"""What a run in MLflow is; conversions, which are runs there too, have none."""

Kind = Literal["train", "distill", "sweep", "trial"]
Status = Literal["running", "finished", "failed", "interrupted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One run. Figures that are not known, or not yet, are None."""

    run_id: str
    """In MLflow."""
    name: str
    kind: Kind
    status: Status
    started: datetime
    ended: datetime | None
    """None while it runs, and of a run that was killed."""
    settings: dict[str, str]
    """Every setting as text; a trial has those of its sweep too."""
    metrics: dict[str, float]
    """The last value of each."""
    versions: tuple[str, ...]
    """What was registered from it, as name/3, oldest first."""
    sweep: str = ""
    """Of a trial: the name of its sweep."""

    @property
    def epochs_done(self) -> int | None:
        return self._whole("epochs_done")

    @property
    def epochs_asked(self) -> int | None:
        epochs = self.settings.get("epochs", "")
        return int(epochs) if epochs.isdecimal() else None

    @property
    def best_epoch(self) -> int | None:
        return self._whole("best_epoch")

    @property
    def val_accuracy(self) -> float | None:
        """Of the best epoch, or of a sweep's best trial."""
        return self.metrics.get("best_val_accuracy", self.metrics.get("val_accuracy"))

    @property
    def test_accuracy(self) -> float | None:
        """Of the graph that was registered."""
        return self.metrics.get("test_accuracy_onnx")

    @property
    def parameters(self) -> int | None:
        return self._whole("parameters")

    @property
    def seconds(self) -> float | None:
        """From start to end, or until now; a resumed run's pause included."""
        if self.ended is not None:
            return (self.ended - self.started).total_seconds()
        return time.time() - self.started.timestamp() if self.status == "running" else None

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "status": self.status,
            "sweep": self.sweep or None,
            "model": self.settings.get("model"),
            "data": self.settings.get("data"),
            "epochs": {"done": self.epochs_done, "asked": self.epochs_asked},
            "best_epoch": self.best_epoch,
            "val_accuracy": self.val_accuracy,
            "test_accuracy": self.test_accuracy,
            "versions": list(self.versions),
            "started": self.started.isoformat(timespec="seconds"),
            "seconds": self.seconds,
            "train_seconds": self.metrics.get("train_seconds"),
            "images_per_second": self.metrics.get("mean_images_per_second"),
            "parameters": self.parameters,
            "run_id": self.run_id,
            "settings": self.settings,
        }

    def _whole(self, metric: str) -> int | None:
        return int(self.metrics[metric]) if metric in self.metrics else None


class RunRecords:
    """Reads only. Raises MantaError with one clear line when the store cannot be reached."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self.tracking_uri = tracking_uri(home)
        self._client = open_client(home)

    def latest(self, limit: int, *, trials: bool = False) -> list[RunRecord]:
        """Newest first. Without `trials` a sweep is one run."""
        which = "LIKE '%'" if trials else "!= 'trial'"
        return self._read(self._search(f"tags.`{KIND_TAG}` {which}", limit))

    def find(self, name: str) -> RunRecord:
        """The newest run of this name. Raises NotFound with the latest names."""
        condition = f"attributes.run_name = '{name}' AND tags.`{KIND_TAG}` LIKE '%'"
        found = self._search(condition, 1) if "'" not in name else []
        if not found:
            have = ", ".join(record.name for record in self.latest(5)) or "none"
            raise NotFound(f"there is no run {name!r} (latest: {have})")
        return self._read(found)[0]

    def trials(self, sweep: RunRecord) -> list[RunRecord]:
        """Those of a sweep, the best first."""
        found = self._read(self._search(f"tags.`{PARENT_TAG}` = '{sweep.run_id}'", 1000))
        return sorted(found, key=lambda trial: -(trial.val_accuracy or 0))

    def _search(self, condition: str, limit: int) -> list[MlflowRun]:
        with one_line_errors(self.tracking_uri):
            experiment = self._client.get_experiment_by_name(EXPERIMENT)
            if experiment is None:
                return []
            ids, newest = [experiment.experiment_id], ["attributes.start_time DESC"]
            return list(self._client.search_runs(ids, condition, max_results=limit, order_by=newest))

    def _read(self, found: list[MlflowRun]) -> list[RunRecord]:
        with one_line_errors(self.tracking_uri):
            versions = self._versions()
            sweeps = {run.data.tags[PARENT_TAG] for run in found if PARENT_TAG in run.data.tags}
            parents = {run_id: self._client.get_run(run_id) for run_id in sweeps}
        return [
            self._record(run, parents.get(run.data.tags.get(PARENT_TAG, "")), versions.get(run.info.run_id, ()))
            for run in found
        ]

    def _versions(self) -> Mapping[str, tuple[str, ...]]:
        """Every version by the run it comes from."""
        found: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
        for version in every(self._client.search_model_versions):
            found[version.run_id].append((version.creation_timestamp, f"{version.name}/{version.version}"))
        return {run_id: tuple(reference for _, reference in sorted(each)) for run_id, each in found.items()}

    def _record(self, run: MlflowRun, parent: MlflowRun | None, versions: tuple[str, ...]) -> RunRecord:
        kind, sweep = run.data.tags[KIND_TAG], parent.info.run_name if parent else ""
        status = self._status(run, sweep or run.info.run_name, in_sweep=kind in ("sweep", "trial"))
        ended = run.info.end_time if run.info.status != "RUNNING" else None  # a reopened run keeps its first end
        return RunRecord(
            run_id=run.info.run_id,
            name=run.info.run_name,
            kind=cast("Kind", kind),
            status=status,
            started=_time(run.info.start_time),
            ended=_time(ended) if ended else None,
            settings={**(parent.data.params if parent else {}), **run.data.params},
            metrics=dict(run.data.metrics),
            versions=versions,
            sweep=sweep,
        )

    def _status(self, run: MlflowRun, folder: str, *, in_sweep: bool) -> Status:
        """A driver that was killed could not say so: its run is one that nobody holds the lock of.

        Of a run in another home, which only shares the store, there is no lock to look at.
        """
        if run.info.status != "RUNNING":
            ends: dict[str, Status] = {"FINISHED": "finished", "FAILED": "failed"}
            return ends.get(run.info.status, "interrupted")
        path = (self._home.sweeps if in_sweep else self._home.runs) / folder
        return "interrupted" if path.is_dir() and not is_locked(path) else "running"


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
