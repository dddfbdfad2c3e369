"""What one real pipeline job left behind."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

from app.client import HttpEvaluation, evaluate_over_http
from app.config import Home
from app.datasets import prepare
from cluster.jobs import run_job
from cluster.local import LocalCluster
from cluster.ports import free_port
from cluster.serve_client import ServeClient


@dataclass(frozen=True)
class PipelineRun:
    home: Home
    result: dict[str, Any]
    lines: list[str]
    asked_again: HttpEvaluation
    """The test split sent once more, while the service was up."""


def run_pipeline(cluster: LocalCluster, home: Home) -> PipelineRun:
    """Digits to a live endpoint on the cluster; the service is ended again."""
    lines: list[str] = []
    argv = ["--data", "digits", "--epochs", "6", "--run", "pipeline-digits", "--git-commit", "abc123"]
    with contextlib.closing(ServeClient(cluster.dashboard_url)) as client:
        try:
            outcome = run_job(
                cluster.dashboard_url,
                "train_jobs.pipeline",
                [*argv, "--port", str(client.state().port or free_port())],
                home=home,
                on_line=lines.append,
            )
            assert outcome.status == "SUCCEEDED", "\n".join(lines)
            assert outcome.result is not None
            test = prepare("digits", cache=home.datasets).test
            asked_again = evaluate_over_http(outcome.result["url"], test.images, test.labels, latency_samples=5)
        finally:
            client.shutdown()
    return PipelineRun(home, outcome.result, lines, asked_again)
