"""Training jobs on the session's cluster: started, looked at and stopped."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import psutil

from app.config import Home
from cluster.dashboard import Dashboard
from cluster.environment import MARK
from cluster.jobs import JobOutcome, run_job
from cluster.local import LocalCluster

ROOT = Path(__file__).parent.parent.parent


def train(cluster: LocalCluster, home: Home, *argv: str, lines: list[str] | None = None) -> JobOutcome:
    on_line = (lambda _: None) if lines is None else lines.append
    return run_job(cluster.dashboard_url, "train_jobs.train", argv, home=home, on_line=on_line)


def epochs_done(home: Home, run: str) -> int:
    file = home.runs / run / "history.json"
    return len(json.loads(file.read_text())) if file.is_file() else 0


def training_workers(cluster: LocalCluster) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if "RayTrainWorker" in " ".join(process.cmdline()) and process.environ().get(MARK) == cluster.mark:
                found.append(process)
        except psutil.Error:
            continue
    return found


def stop_running_jobs(cluster: LocalCluster) -> None:
    with contextlib.closing(Dashboard(cluster.dashboard_url)) as dashboard:
        for job in dashboard.get("/api/jobs/"):
            if job["status"] == "RUNNING" and job["submission_id"]:  # not this process's own connection
                dashboard.post(f"/api/jobs/{job['submission_id']}/stop")


def drivers(cluster: LocalCluster, run: str, *, job: str = "train_jobs.train") -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
            if command[1:3] == ["-m", job] and run in command:
                found.append(process)
        except psutil.Error:
            continue
    return [process for process in found if process.environ().get(MARK) == cluster.mark]


def tracking_runs(home: Home, name: str) -> list[str]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{home.mlflow_database}")
    experiment = client.get_experiment_by_name("manta")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], f"attributes.run_name = '{name}'")
    return [run.info.status for run in runs]
