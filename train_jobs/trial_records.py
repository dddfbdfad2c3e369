"""What a sweep tells of its trials while they run: a line for each that ends, and an MLflow run below the sweep's."""

from __future__ import annotations

import contextlib
import functools
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Literal

from ray.tune import Callback
from ray.tune.experiment import Trial as TuneTrial

from app.checkpoint import best_epoch
from app.config import Home
from app.errors import MantaError
from app.registry import Registry
from app.run_records import KIND_TAG
from app.settings import short
from train_jobs.failure import read_failure
from train_jobs.job import say
from train_jobs.runs import Run
from train_jobs.search import EPOCH
from train_jobs.sweeps import Sweep, outcome

LOGGED = ("lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds", "images_per_second")
"""Of each epoch."""
LOG_EVERY_S = 10.0
"""What was reported since is lost to MLflow, not to the trial, when a sweep is interrupted."""


Status = Literal["FINISHED", "FAILED"]


class TrialRecords(Callback):
    """Called in the driver, the only writer of MLflow. A sweep goes on while that cannot be reached."""

    def __init__(self, home: Home, sweep: Sweep) -> None:
        self._home, self._sweep = home, sweep
        self._run_ids: dict[str, str] = {}
        self._ended: set[str] = set()
        self._to_end: dict[str, Status] = {}
        """Of trials that ended while MLflow could not be told."""
        self._logged = time.monotonic()
        self._waiting: dict[str, list[tuple[int, dict[str, float]]]] = defaultdict(list)
        """(epoch, metrics) of each trial that are still to be logged."""

    def get_state(self) -> dict[str, Any]:
        """Kept by Ray Tune with its own state, for a sweep that goes on."""
        return {
            "run_ids": self._run_ids,
            "ended": self._ended,
            "to_end": self._to_end,
            "waiting": dict(self._waiting),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        self._run_ids, self._ended = state["run_ids"], state["ended"]
        self._to_end = state.get("to_end", {})
        self._waiting.update(state.get("waiting", {}))

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Opens the trial's one MLflow run, or the same one again."""
        with recording():
            self._registry.reopen_run(self._run_id(trial))

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any], **info: Any
    ) -> None:
        epoch = int(result.get(EPOCH, 0))
        metrics = {name: float(result[name]) for name in LOGGED if name in result}
        metrics |= self._sweep.trial(trial.trial_id, trial.config).progress(epoch)
        self._waiting[trial.trial_id].append((epoch, metrics))
        if time.monotonic() - self._logged > LOG_EVERY_S:
            self._logged = time.monotonic()
            with recording():
                self._run_id(trial)
                self._catch_up()

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        failed = read_failure(self._sweep.trial(trial.trial_id, trial.config).failure_file)
        self._end(trial, "FAILED" if failed else "FINISHED")

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        self._end(trial, "FAILED")

    def on_experiment_end(self, trials: list[TuneTrial], **info: Any) -> None:
        """The last chance for what MLflow could not be told before."""
        with recording():
            for trial in trials:
                if trial.trial_id in self._waiting or trial.trial_id in self._to_end:
                    self._run_id(trial)
            self._catch_up()

    def _catch_up(self) -> None:
        """All at once: a transaction for each epoch would hold up every trial, where epochs are short."""
        for trial_id in self._waiting.keys() & self._run_ids.keys():
            self._registry.log_history(self._run_ids[trial_id], self._waiting[trial_id])
            del self._waiting[trial_id]
        for trial_id in self._to_end.keys() & self._run_ids.keys():
            self._registry.end_run(self._run_ids[trial_id], self._to_end[trial_id])
            del self._to_end[trial_id]

    def _run_id(self, trial: TuneTrial) -> str:
        """Of the trial's MLflow run. What is known of it may be older than the run, when the sweep was interrupted."""
        if trial.trial_id not in self._run_ids:
            name, parent = f"{self._sweep.name}-{trial.trial_id}", self._sweep.tracking_run_id
            self._run_ids[trial.trial_id] = self._registry.child(parent, name) or self._registry.start_run(
                name, trial.config, parent=parent, tags={KIND_TAG: "trial"}
            )
        return self._run_ids[trial.trial_id]

    @property
    def _registry(self) -> Registry:
        """Opened when needed: Ray Tune pickles this object, and a database connection cannot be."""
        return _registry(self._home)

    def _end(self, trial: TuneTrial, status: Status) -> None:
        self._to_end[trial.trial_id] = status
        with recording():
            self._run_id(trial)
            self._catch_up()
        self._ended.add(trial.trial_id)
        chosen = "  ".join(f"{name}={short(value)}" for name, value in trial.config.items())
        ended = described(self._sweep.trial(trial.trial_id, trial.config))
        say(f"trial {len(self._ended):>3}/{self._sweep.settings.trials}  {ended}  {chosen}")


@contextlib.contextmanager
def recording() -> Iterator[None]:
    """What fails within is said, and ends no sweep: epochs are logged with the next ones."""
    try:
        yield
    except MantaError as error:
        say(f"the sweep goes on, but is not recorded for now: {error}")


@functools.cache
def _registry(home: Home) -> Registry:
    return Registry(home)


def described(trial: Run) -> str:
    """How it ended, in a few words."""
    status, reason = outcome(trial)
    if status == "failed":
        return f"failed: {reason}"
    history = trial.history()
    stopped = " (stopped)" if status == "stopped" else ""
    return f"val {best_epoch(history).val_accuracy:.2%} in {history[-1].epoch} epochs{stopped}"
