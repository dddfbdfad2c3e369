"""System metrics of a training run: CPU, memory, disk, network and NVIDIA GPUs of the driver's machine, by MLflow."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

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
            with contextlib.suppress(Exception):
                _finish(monitor)


def _started(tracking_run_id: str, tracking_uri: str) -> SystemMetricsMonitor | None:
    """None where the machine does not tell, as in a container without a network."""
    logging.getLogger("mlflow.system_metrics").setLevel(logging.CRITICAL)  # it narrates its start and end
    try:
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        monitor = SystemMetricsMonitor(
            tracking_run_id, sampling_interval=INTERVAL_S, resume_logging=True, tracking_uri=tracking_uri
        )
        monitor.start()
    except Exception:
        return None
    return monitor


def _finish(monitor: SystemMetricsMonitor) -> None:
    """Ends it at once, and logs what it has sampled since it logged last: a short run has figures too."""
    monitor.finish()
    monitor.publish_metrics(monitor.aggregate_metrics())
    monitor.collect_metrics()  # its first sample of the CPU covers no time at all
    monitor.publish_metrics(monitor.aggregate_metrics())
    monitor.mlflow_logger.flush()
