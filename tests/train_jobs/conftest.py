"""One real pipeline job, run once: digits to a live endpoint on the session's cluster."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from app.config import Home
from cluster.jobs import run_job
from cluster.local import LocalCluster
from cluster.ports import free_port
from cluster.serve_client import ServeClient


@dataclass(frozen=True)
class PipelineRun:
    home: Home
    result: dict[str, Any]
    lines: list[str]


@pytest.fixture(scope="session")
def pipeline_run(cluster: LocalCluster, cluster_home: Home) -> Iterator[PipelineRun]:
    """Leaves its service up for the tests that ask it."""
    client = ServeClient(cluster.dashboard_url)
    port = client.state().port or free_port()
    lines: list[str] = []
    outcome = run_job(
        cluster.dashboard_url,
        "train_jobs.pipeline",
        ["--data", "digits", "--epochs", "6", "--run", "pipeline-digits", "--port", str(port), "--git-commit", "abc123"],
        home=cluster_home,
        on_line=lines.append,
    )
    assert outcome.status == "SUCCEEDED", "\n".join(lines)
    assert outcome.result is not None
    yield PipelineRun(cluster_home, outcome.result, lines)
    client.shutdown()
