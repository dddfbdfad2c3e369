"""How a worker says that trying again will not help: a file that its driver reads.

An exception would make Ray Train start the workers again, `--max-failures` times, only to fail in the same way.
"""

from __future__ import annotations

import json
from pathlib import Path

from app import errors
from app.atomic_file import write_atomically
from app.errors import MantaError


def write_failure(file: Path, error: MantaError) -> None:
    write_atomically(file, json.dumps({"kind": type(error).__name__, "message": str(error)}))


def read_failure(file: Path) -> MantaError | None:
    """The error that a worker left, of the kind it had."""
    if not file.is_file():
        return None
    content = json.loads(file.read_text(encoding="utf-8"))
    kind: type[MantaError] = getattr(errors, content["kind"])
    return kind(content["message"])
