"""A home folder for one benchmark, and no cluster but the one that is started in it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def own_home() -> Iterator[Path]:
    """A temporary folder with the home below it, for as long as the block runs."""
    with tempfile.TemporaryDirectory(prefix="manta-benchmark-") as folder:
        os.environ["MANTA_HOME"] = str(Path(folder) / "home")
        for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "MLFLOW_TRACKING_URI"):
            os.environ.pop(name, None)
        yield Path(folder)
