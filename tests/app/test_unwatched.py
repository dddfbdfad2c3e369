"""A machine that cannot be watched is told of, once, and the training goes on."""

from __future__ import annotations

from typing import Any

import pytest
from mlflow.system_metrics import system_metrics_monitor

from app import system_metrics


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system_metrics, "_warned", set())


def test_what_cannot_be_measured_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_network(*_args: Any, **_options: Any) -> None:
        raise AttributeError("no bytes_recv\nand more")

    monkeypatch.setattr(system_metrics_monitor, "SystemMetricsMonitor", no_network)
    ran = 0
    for _ in range(3):
        with system_metrics.system_metrics("run", "sqlite:///nowhere"):
            ran += 1
    assert ran == 3
    assert caplog.messages == ["the machine is not watched: AttributeError: no bytes_recv"]


def test_samples_that_are_lost_at_the_end_are_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def gone(_monitor: object) -> None:
        raise OSError("the store is gone")

    monkeypatch.setattr(system_metrics, "_started", lambda *_args: object())
    monkeypatch.setattr(system_metrics, "_finish", gone)
    for _ in range(3):
        with system_metrics.system_metrics("run", "sqlite:///nowhere"):
            pass
    assert caplog.messages == ["the last samples of the machine are not logged: OSError: the store is gone"]
