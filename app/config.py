"""Where Manta keeps its state, and the limits and shares that hold in every part."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from app.errors import BadInput

DEFAULT_HTTP_PORT = 8000
JOB_NICENESS = 10
"""Of what trains or predicts in bulk, below the service's priority: it takes what the service leaves of a machine."""


def http_host(otherwise: str | None = None) -> str:
    """The interface the HTTP service listens on, `MANTA_HTTP_HOST`; loopback unless the user asks otherwise.

    otherwise: where it listens already.
    """
    return os.environ.get("MANTA_HTTP_HOST") or otherwise or "127.0.0.1"


def grpc_port() -> int | None:
    """Where the gRPC service listens, `MANTA_GRPC_PORT`; None, as it is unless the user asks otherwise, for nowhere.

    Raises BadInput for what is no port.
    """
    port = os.environ.get("MANTA_GRPC_PORT", "")
    if not port:
        return None
    if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise BadInput(f"MANTA_GRPC_PORT is {port!r}, which is no port: 1 to 65535, or nothing for no gRPC service")
    return int(port)


@dataclass(frozen=True, slots=True)
class Home:
    """The one folder that holds all state, `MANTA_HOME` (default `~/.manta`).

    A job's working directory is an unpacked package that Ray deletes, so nothing lives there.
    On several nodes this folder is shared storage.
    """

    root: Path

    @classmethod
    def from_env(cls) -> Home:
        return cls(Path(os.environ.get("MANTA_HOME") or "~/.manta").expanduser().resolve())

    @property
    def datasets(self) -> Path:
        """Decoded datasets, one folder per digest."""
        return self.root / "datasets"

    @property
    def runs(self) -> Path:
        """Training runs: checkpoints, history and curves, one folder per run name."""
        return self.root / "runs"

    @property
    def sweeps(self) -> Path:
        """Sweeps: their trials' runs, reports and best recipes, one folder per sweep name."""
        return self.root / "sweeps"

    @property
    def teachers(self) -> Path:
        """Answers of teachers to training images, one folder for each teacher and dataset."""
        return self.root / "teachers"

    @property
    def pruned(self) -> Path:
        """Pruned networks before they are fine-tuned."""
        return self.root / "pruned"

    @property
    def bundles(self) -> Path:
        """Bundles being written; a finished one is logged to the registry as a whole."""
        return self.root / "bundles"

    @property
    def reports(self) -> Path:
        """Comparisons, one HTML file each."""
        return self.root / "reports"

    @property
    def mlflow_database(self) -> Path:
        return self.root / "mlflow.db"

    @property
    def mlflow_artifacts(self) -> Path:
        return self.root / "mlartifacts"

    @property
    def predictions(self) -> Path:
        """Answers of `manta batch-predict`, where it was not told another place."""
        return self.root / "predictions"

    @property
    def promotion_log(self) -> Path:
        """One JSON object a line, only ever appended to."""
        return self.root / "promotions.jsonl"

    @property
    def serve_lock(self) -> Path:
        """Held by whoever changes what is served."""
        return self.root / "serve.lock"

    @property
    def admin_token(self) -> Path:
        """Opens the admin routes of the service on this home's cluster."""
        return self.root / "admin_token"

    @property
    def live_database(self) -> Path:
        """What the service's control knows: answers, feedback, counts, decisions."""
        return self.root / "live.db"

    @property
    def cluster_file(self) -> Path:
        """What `manta up` started: addresses, ports and the mark its processes carry."""
        return self.root / "cluster.json"

    @property
    def logs(self) -> Path:
        return self.root / "logs"


@dataclass(frozen=True, slots=True)
class CpuShares:
    """Logical CPUs that each kind of work asks Ray for. The table is explained in docs/ARCHITECTURE.md.

    They are admission tickets, not pinned cores: small enough that a pipeline, a sweep with two
    trials, or a retraining beside champion, challenger and router all fit on two of them.
    """

    train_worker: float = 0.5
    predict_actor: float = 0.2
    trial: float = 0.05
    decode_task: float = 0.2
    conversion_task: float = 0.4
    router: float = 0.1
    classifier: float = 0.1
    control: float = 0.05


CPU = CpuShares()
