"""Try many settings with Ray Tune, and leave a report and the best ones as a recipe.

ray job submit --working-dir . -- python -m train_jobs.sweep --data digits --trials 8
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune import Tuner

from app.architecture_cost import architecture_cost
from app.atomic_file import write_atomically
from app.batches import with_defaults
from app.checkpoint import best_epoch
from app.config import CPU, Home
from app.datasets import Dataset
from app.errors import BadInput, MantaError
from app.models import architecture, build_net
from app.options import run_job
from app.registry import Registry
from app.run_lock import locked
from app.run_records import KIND_TAG
from app.search_space import Space, architectures, parse_space
from app.settings import FitSettings, SweepSettings, short, write_recipe
from app.settings.parts import part
from app.sweep_report import SweepReport, TrialRow, draw_report, ranked
from app.system_metrics import system_metrics
from train_jobs.cores import cluster_cores, threads_each
from train_jobs.data import dataset_to_train_on
from train_jobs.job import connect, finish, recorded, say, telling_mlflow
from train_jobs.ray_training import has_gpus
from train_jobs.runs import Run, new_run_name, require_only_resume
from train_jobs.search import require_changeable, scheduler, searcher, tune_space
from train_jobs.sweeps import TUNE_FOLDER, Sweep, open_sweep, outcome
from train_jobs.trial import trial_of
from train_jobs.trial_records import TrialRecords

TRIAL_SETTINGS = "params.json"
"""Where Ray Tune writes what it chose for a trial, when it starts."""
EXPERIMENT_STATE = "experiment_state-*.json"
"""What Ray Tune writes once the first trial has started."""


TPE_STARTS = 10
"""Trials that Optuna's TPE chooses by chance, to begin with (`n_startup_trials`)."""


def main(settings: SweepSettings) -> None:
    sweep, report = run_sweep(settings, connect().home)
    finish(
        {
            **report.to_json(),
            "best": asdict(report.best),
            "recipe": str(sweep.recipe_file),
            "report": str(sweep.report_file),
            "plot": str(sweep.plot_file),
            "folder": str(sweep.folder),
        }
    )


def run_sweep(settings: SweepSettings, home: Home) -> tuple[Sweep, SweepReport]:
    """Raises MantaError when not a single trial has finished an epoch."""
    registry = Registry(home)
    resumed = sweep_to_resume(home, settings) if settings.resume else None
    settings = resumed.settings if resumed else settings
    space = checked_space(settings)
    digest = resumed.dataset_digest if resumed else ""
    dataset = dataset_to_train_on(settings, home, digest=digest)
    sweep = resumed or start_sweep(settings, dataset, home, registry)
    with locked(sweep.folder), recorded(sweep.tracking_run_id, registry):
        registry.reopen_run(sweep.tracking_run_id)
        with system_metrics(sweep.tracking_run_id, registry.tracking_uri):
            try:
                results = tuned(sweep, space, dataset, home)
            finally:
                with telling_mlflow("which trials are no longer running"):  # an interruption leaves them open
                    registry.end_children(sweep.tracking_run_id, "KILLED")
        report = make_report(sweep, results, dataset)
        with telling_mlflow("of the report"):
            registry.log_metrics(sweep.tracking_run_id, {"val_accuracy": report.best.val_accuracy or 0.0})
            for path in (sweep.report_file, sweep.plot_file, sweep.recipe_file):
                registry.log_file(sweep.tracking_run_id, path)
        dataclasses.replace(sweep, finished=True).save()
    return sweep, report


def checked_space(settings: SweepSettings) -> Space:
    """Raises BadInput before any image is read; misspelt architectures included."""
    space = parse_space(settings.space, settings)
    if settings.search == "pbt":
        require_changeable(space)
        if settings.storage:
            raise BadInput("--search pbt hands weights over within MANTA_HOME; leave out --storage")
    for name in architectures(space, settings):
        architecture(name)
    return space


def sweep_to_resume(home: Home, settings: SweepSettings) -> Sweep:
    """Raises BadInput for a finished sweep, and when other settings than `--resume` are given."""
    assert settings.resume is not None
    require_only_resume(settings, "sweep")
    sweep = open_sweep(home, settings.resume)
    if sweep.finished:
        raise BadInput(f"sweep {sweep.name} is finished: see {sweep.report_file}")
    say(f"going on with sweep {sweep.name}")
    return sweep


def start_sweep(settings: SweepSettings, dataset: Dataset, home: Home, registry: Registry) -> Sweep:
    """Opens its record. Raises BadInput for data that not every trial can take, and for a name that exists."""
    name = new_run_name(settings, dataset.name)
    if (home.sweeps / name).exists():
        raise BadInput(f"sweep {name!r} exists already: go on with --resume {name}, or choose another --run")
    settings = with_defaults(settings, len(dataset.train), settings.worker_range[1])
    build_net(settings.model, len(dataset.labels), dataset.input_size, dropout=settings.dropout)
    params = {**asdict(settings), "dataset_digest": dataset.digest}
    run_id = registry.start_run(name, params, tags={KIND_TAG: "sweep"})
    sweep = Sweep(home.sweeps / name, settings, run_id, dataset.digest)
    sweep.save()
    say(f"sweep {name}")
    return sweep


def tuned(sweep: Sweep, space: Space, dataset: Dataset, home: Home) -> list[tuple[str, dict[str, object]]]:
    """Runs all trials that are still to be run. Returns (trial id, settings that were varied) of every one."""
    workers = sweep.settings.worker_range[1]
    at_once = concurrency(sweep.settings)
    threads = sweep.settings.threads or threads_each(at_once * workers)
    say(f"{sweep.settings.trials} trials, {at_once} at a time, {workers} x {threads} threads each")
    trial = tune.with_resources(trial_of(sweep, dataset.folder, threads=threads), {"cpu": CPU.trial})
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ["TUNE_DISABLE_STRICT_METRIC_CHECKING"] = "1"  # a trial that diverges ends without a score
    logging.getLogger("ray.tune").setLevel(logging.ERROR)  # it warns of every result that it took half a second for
    tuner = restored(sweep, trial, space) or Tuner(
        trial,
        param_space=tune_space(space),
        tune_config=tune.TuneConfig(
            num_samples=sweep.settings.trials,
            max_concurrent_trials=at_once,
            search_alg=searcher(sweep.settings, space),
            scheduler=scheduler(sweep, space),
            trial_dirname_creator=lambda each: str(each.trial_id),
        ),
        run_config=tune.RunConfig(
            name=TUNE_FOLDER,
            storage_path=str(sweep.folder),
            failure_config=tune.FailureConfig(max_failures=sweep.settings.max_failures),
            verbose=0,
            callbacks=[TrialRecords(home, sweep)],
        ),
    )
    results = tuner.fit()
    folders = (Path(results[number].path) for number in range(len(results)))
    # Not `result.config`, which a trial without any result does not have.
    return [(folder.name, json.loads((folder / TRIAL_SETTINGS).read_text())) for folder in folders]


def restored(sweep: Sweep, trial: Callable[[dict[str, Any]], None], space: Space) -> Tuner | None:
    """What an interrupted sweep had come to; None when it had not begun."""
    if not any(sweep.tune_folder.glob(EXPERIMENT_STATE)):
        return None
    return Tuner.restore(str(sweep.tune_folder), trainable=trial, param_space=tune_space(space))


def concurrency(settings: SweepSettings) -> int:
    """Trials at a time, at least one: as many as have a core for each worker, and room for their shares and GPUs.

    With TPE also so few, unless asked otherwise, that most trials are chosen by the results of others.
    """
    fewest, workers = settings.worker_range
    resources = ray.cluster_resources()
    room = int((resources.get("CPU", 1) + 1e-9) // (CPU.trial + workers * CPU.train_worker))
    if has_gpus(fewest) if settings.gpu is None else settings.gpu:
        room = min(room, int(resources.get("GPU", 0) // workers))
    cores = cluster_cores() // workers
    if settings.search == "tpe":
        cores = min(cores, max(TPE_STARTS, settings.trials // 4))
    return max(1, min(settings.concurrent or cores, room, settings.trials))


def make_report(sweep: Sweep, trials: list[tuple[str, dict[str, object]]], dataset: Dataset) -> SweepReport:
    """Writes report, plot and recipe. Raises MantaError when no trial has finished an epoch."""
    say("measuring parameters and latency")
    rows = ranked([trial_row(sweep.trial(name, config), config, dataset) for name, config in trials])
    report = SweepReport(name=sweep.name, data=dataset.name, rows=rows)
    if report.best.val_accuracy is None:
        raise MantaError(f"every trial of sweep {sweep.name} failed; the first with: {report.best.reason}")
    write_atomically(sweep.report_file, json.dumps(report.to_json(), indent=2))
    draw_report(report, sweep.plot_file)
    write_recipe(
        part(sweep.trial(report.best.trial, report.best.settings).settings, FitSettings),
        sweep.recipe_file,
        comment=f"The best of {len(rows)} trials of sweep {sweep.name} on {dataset.name}:\n"
        f"validation accuracy {report.best.val_accuracy:.4f} with "
        + ", ".join(f"{name}={short(value)}" for name, value in report.best.settings.items()),
    )
    return report


def trial_row(run: Run, config: dict[str, object], dataset: Dataset) -> TrialRow:
    status, reason = outcome(run)
    if status == "failed":
        return TrialRow(trial=run.name, settings=config, status=status, reason=reason)
    history, settings = run.history(), run.settings
    best = best_epoch(history)
    cost = architecture_cost(settings.model, len(dataset.labels), dataset.input_size)
    return TrialRow(
        trial=run.name,
        settings=config,
        status=status,
        epochs=history[-1].epoch,
        val_accuracy=best.val_accuracy,
        score=best.score,
        parameters=cost.parameters,
        latency_ms=cost.latency_ms,
        seconds=sum(report.seconds for report in history),
    )


if __name__ == "__main__":
    run_job(SweepSettings, main)
