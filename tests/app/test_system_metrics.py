"""System metrics in MLflow: for short runs too, over a resumption, quiet, and never in the way of a training."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from mlflow.system_metrics import system_metrics_monitor

from app.config import Home
from app.registry import Registry
from app.system_metrics import system_metrics
from tests.waiting import wait_for

CPU = "system/cpu_utilization_percentage"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return Registry(Home(tmp_path_factory.mktemp("metrics") / "home"))


def steps(registry: Registry, run: str, metric: str = CPU) -> list[int]:
    return [each.step for each in registry._client.get_metric_history(run, metric)]


def test_a_run_that_ends_at_once_has_figures_and_does_not_wait(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "90")
    run = registry.start_run("short", {})
    with system_metrics(run, registry.tracking_uri):
        started = time.monotonic()
    assert time.monotonic() - started < 45, "less than the time between two samples"
    metrics = registry._client.get_run(run).data.metrics
    assert 0 <= metrics[CPU] <= 100
    assert metrics["system/system_memory_usage_megabytes"] > 0
    assert capfd.readouterr() == ("", "")


def test_a_resumed_run_goes_on_counting(registry: Registry) -> None:
    run = registry.start_run("resumed", {})
    with system_metrics(run, registry.tracking_uri):
        pass
    before = steps(registry, run)
    registry.end_run(run, "KILLED")
    registry.reopen_run(run)
    with system_metrics(run, registry.tracking_uri):
        pass
    after = steps(registry, run)
    assert after[: len(before)] == before
    assert after == list(range(len(after)))
    assert len(after) > len(before)


def test_samples_are_logged_while_the_block_runs(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    run = registry.start_run("long", {})
    with system_metrics(run, registry.tracking_uri):
        wait_for(lambda: len(steps(registry, run)) >= 3)


def test_what_cannot_be_measured_stops_no_training(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network() -> None:
        raise AttributeError("'NoneType' object has no attribute 'bytes_recv'")

    monkeypatch.setattr(system_metrics_monitor, "NetworkMonitor", no_network)
    ran = False
    with system_metrics(registry.start_run("x", {}), registry.tracking_uri):
        ran = True
    assert ran


def test_a_store_that_is_gone_at_the_end_stops_no_training(registry: Registry, tmp_path: Path) -> None:
    with system_metrics("no such run", registry.tracking_uri):
        pass


def test_an_error_of_the_training_passes_through(registry: Registry) -> None:
    with pytest.raises(KeyboardInterrupt), system_metrics(registry.start_run("x", {}), registry.tracking_uri):
        raise KeyboardInterrupt
