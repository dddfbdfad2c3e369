"""A sweep on two logical CPUs: one trial fails, the sweep is stopped and goes on, and leaves a report and a recipe."""

from __future__ import annotations

import json
import threading

import pytest

from app.config import Home
from app.mlflow_store import open_client
from app.settings import FitSettings
from app.settings.recipes import read_recipe
from cluster.jobs import JobOutcome, run_job
from cluster.local import LocalCluster
from tests.train_jobs.running import stop_running_jobs, training_workers
from tests.waiting import wait_for

NAME = "stopped-sweep"
SPACE = ("--space", "lr=0.05,1e30,2e30", "--space", "shift=uniform:0:0.2")
ARGV = (
    "--data",
    "digits",
    "--optimizer",
    "sgd",
    "--lr",
    "0.05",
    "--epochs",
    "3",
    "--trials",
    "3",
    "--search",
    "random",
    "--seed",
    "5",
)


def sweep(cluster: LocalCluster, home: Home, *argv: str, lines: list[str]) -> JobOutcome:
    return run_job(cluster.dashboard_url, "train_jobs.sweep", argv, home=home, on_line=lines.append)


@pytest.mark.minutes
def test_a_stopped_sweep_goes_on_and_a_failed_trial_does_not_end_it(cluster: LocalCluster, cluster_home: Home) -> None:
    first: list[str] = []
    job = threading.Thread(target=lambda: sweep(cluster, cluster_home, *ARGV, *SPACE, "--run", NAME, lines=first))
    job.start()
    wait_for(lambda: any(line.startswith("trial   1/3") for line in first), seconds=150)
    stop_running_jobs(cluster)
    job.join(60)
    wait_for(lambda: not training_workers(cluster), seconds=60)

    lines: list[str] = []
    outcome = sweep(cluster, cluster_home, "--resume", NAME, lines=lines)
    assert outcome.status == "SUCCEEDED", "\n".join(lines)
    assert outcome.result is not None
    rows = outcome.result["trials"]
    assert len(rows) == 3
    failed = [row for row in rows if row["status"] == "failed"]
    assert failed, "the seed gives both learning rates"
    assert all(row["settings"]["lr"] >= 1e30 and "training diverged" in row["reason"] for row in failed)
    best = outcome.result["best"]
    assert best["settings"]["lr"] == 0.05
    assert best["val_accuracy"] == max(row["val_accuracy"] or 0 for row in rows)
    assert best["parameters"] == 49_866
    assert best["latency_ms"] > 0

    folder = cluster_home.sweeps / NAME
    recipe = FitSettings(**read_recipe(folder / "best.yaml"))
    assert (recipe.lr, recipe.optimizer, recipe.epochs) == (0.05, "sgd", 3)
    assert recipe.shift == best["settings"]["shift"]
    assert (folder / "report.png").is_file()
    assert json.loads((folder / "report.json").read_text())["trials"] == rows
    statuses = child_statuses(cluster_home)
    assert sorted(statuses) == sorted(["FINISHED"] * (3 - len(failed)) + ["FAILED"] * len(failed)), "one run a trial"
    again = sweep(cluster, cluster_home, "--resume", NAME, lines=[])
    assert (again.exit_code, f"sweep {NAME} is finished" in again.last_line) == (2, True)


def child_statuses(home: Home) -> list[str]:
    client = open_client(home)
    experiment = client.get_experiment_by_name("manta")
    assert experiment is not None
    (parent,) = client.search_runs([experiment.experiment_id], f"attributes.run_name = '{NAME}'")
    assert parent.info.status == "FINISHED"
    children = client.search_runs([experiment.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    return [child.info.status for child in children]
