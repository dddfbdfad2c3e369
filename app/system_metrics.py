"""System metrics of a training run: CPU, memory, disk, network and NVIDIA GPUs of the driver's machine, by MLflow."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

_logger = logging.getLogger(__name__)
_warned: set[str] = set()
"""What this process has said already: every step of a pruning would say the same."""

INTERVAL_S = 5.0
"""Between two samples. `MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL` overrides it."""


@contextlib.contextmanager
def system_metrics(tracking_run_id: str, tracking_uri: str) -> Iterator[None]:
    """Logs them under `system/` while the block runs, from where a resumed run left off.

    The MLflow run has to be RUNNING. What cannot be measured is left out: it never stops a training, nor keeps it
    waiting for the next sample.
    """
    monitor = _started(tracking_run_id, tracking_uri)
    try:
        yield
    finally:
        if monitor is not None:
            try:
                _finish(monitor)
            except Exception as error:
                _warn_once("the last samples of the machine are not logged", error)


def _started(tracking_run_id: str, tracking_uri: str) -> SystemMetricsMonitor | None:
    """None where the machine does not tell, as in a container without a network."""
    logging.getLogger("mlflow.system_metrics").setLevel(logging.CRITICAL)  # it narrates its start and end
    try:
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        monitor = SystemMetricsMonitor(
            tracking_run_id, sampling_interval=INTERVAL_S, resume_logging=True, tracking_uri=tracking_uri
        )
        monitor.start()
    except Exception as error:
        _warn_once("the machine is not watched", error)
        return None
    return monitor


def _finish(monitor: SystemMetricsMonitor) -> None:
    """Ends it at once, and logs what it has sampled since it logged last: a short run has figures too."""
    monitor.finish()
    monitor.publish_metrics(monitor.aggregate_metrics())
    monitor.collect_metrics()  # its first sample of the CPU covers no time at all
    monitor.publish_metrics(monitor.aggregate_metrics())
    monitor.mlflow_logger.flush()


def _warn_once(what: str, error: Exception) -> None:
    if what not in _warned:
        _warned.add(what)
        reason = str(error).partition("\n")[0]
        _logger.warning("%s: %s: %s", what, type(error).__name__, reason)
