"""Training through Ray's job API: a version in the registry, lost workers, interruption and resumption."""

from __future__ import annotations

import csv
import os
import shutil
import zipfile
from pathlib import Path

import pytest

from app.config import Home
from app.registry import Registry
from app.run_records import RunRecords
from cluster.local import LocalCluster
from tests.app.image_trees import write_tree
from tests.pipeline_run import PipelineRun
from tests.train_jobs.running import ROOT, tracking_runs, train
from tests.waiting import wait_for


def test_a_job_submitted_as_the_readme_says_leaves_a_version(cluster: LocalCluster, cluster_home: Home) -> None:
    """`ray job submit --working-dir . -- python -m train_jobs.train ...`, by Ray's own client."""
    from ray.job_submission import JobSubmissionClient

    before = {version.reference for version in Registry(cluster_home).versions()}
    client = JobSubmissionClient(cluster.dashboard_url)
    job = client.submit_job(
        entrypoint="python -m train_jobs.train --data digits --epochs 1 --workers 1 --name submitted",
        runtime_env={"working_dir": str(ROOT)},
    )
    wait_for(lambda: client.get_job_status(job).is_terminal(), seconds=150)
    logs = client.get_job_logs(job)
    assert client.get_job_status(job) == "SUCCEEDED", logs
    added = {version.reference for version in Registry(cluster_home).versions()} - before
    assert added == {"submitted/1"}
    assert "manta-result: " in logs


def packaged(folder: Path, package: Path) -> set[str]:
    """Names of the files that `ray job submit --working-dir` would upload."""
    from ray._private.runtime_env.packaging import create_package  # what makes the upload

    create_package(str(folder), package, include_gitignore=True)
    with zipfile.ZipFile(package) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


def test_the_package_of_a_job_is_the_code_that_jobs_run(tmp_path: Path) -> None:
    """Also the files beside it that are no modules; no tests, documents or benchmarks."""
    names = packaged(ROOT, tmp_path / "package.zip")
    needed = ("train_jobs/train.py", "app/cli/main.py", "cluster/jobs.py", "serve_deployments/openapi.yaml")
    assert names.issuperset(needed)
    assert {name.partition("/")[0] for name in names} & {"tests", "docs", "benchmarks", "engine"} == set()


def test_the_package_of_a_job_holds_no_data_history_or_environment(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    left_out = (
        *(".git/config", ".venv/bin/python", "data/cats/1.png", "photos.zip", "app/deeper/photos.zip", "mlflow.db"),
        *("app/__pycache__/main.pyc", ".mypy_cache/3.11/app.json", "build/engine/engine.so", "manta.egg-info/PKG-INFO"),
    )
    taken = {"app/main.py", "serve_deployments/openapi.yaml"}
    write_tree(checkout, dict.fromkeys((*left_out, *taken), b"content"))
    for ignore in (".rayignore", ".gitignore"):
        shutil.copyfile(ROOT / ignore, checkout / ignore)
    assert packaged(checkout, tmp_path / "package.zip") - {".rayignore", ".gitignore"} == taken


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        (("--data", "/nowhere/at/all"), 2, "does not exist"),
        (("--resume", "no-such-run"), 3, "no training run"),
        (("--workers", "9"), 6, "9 workers need 4.5 CPUs of the cluster's 2"),
    ],
)
def test_bad_input_is_one_line_and_the_exit_code(
    cluster: LocalCluster, cluster_home: Home, argv: tuple[str, ...], code: int, says: str
) -> None:
    versions = len(Registry(cluster_home).versions())
    lines: list[str] = []
    outcome = train(cluster, cluster_home, *argv, lines=lines)
    assert (outcome.status, outcome.exit_code) == ("FAILED", code)
    assert outcome.last_line.startswith("error: ")
    assert says in outcome.last_line
    assert not any("Traceback" in line for line in lines)
    assert len(Registry(cluster_home).versions()) == versions


def test_a_home_that_cannot_be_written_is_said(cluster: LocalCluster, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    outcome = train(cluster, Home(blocked / "home"), "--data", "digits")
    assert outcome.status == "FAILED"
    assert "MANTA_HOME" in outcome.last_line
    assert os.fspath(blocked) in outcome.last_line


def test_all_of_a_run_is_in_its_one_mlflow_run(pipeline_run: PipelineRun) -> None:
    """Parameters, the exact command, metrics of each epoch and of the machine, pictures, tables and the model."""
    from mlflow import MlflowClient

    home = pipeline_run.home
    assert tracking_runs(home, "pipeline-digits") == ["FINISHED"]
    record = RunRecords(home).find("pipeline-digits")
    folder, client = home.runs / record.name, MlflowClient(f"sqlite:///{home.mlflow_database}")
    logged = {file.path for file in client.list_artifacts(record.run_id)}
    reported = {"curves.png", "confusion.png", "classes.csv", "mistakes.png"}
    assert reported <= logged
    assert reported <= {path.name for path in folder.iterdir()}
    bundle = Path(pipeline_run.result["artifacts"]).name
    assert bundle.startswith("bundle-")
    assert bundle in logged
    assert "-m train_jobs.pipeline --data digits --epochs 6 --run pipeline-digits" in record.settings["command"]
    assert [each.step for each in client.get_metric_history(record.run_id, "val_accuracy")] == [1, 2, 3, 4, 5, 6]
    assert record.metrics["system/system_memory_usage_megabytes"] > 0
    with (folder / "classes.csv").open(encoding="utf-8", newline="") as file:
        assert [row["label"] for row in csv.DictReader(file)] == list("0123456789")
