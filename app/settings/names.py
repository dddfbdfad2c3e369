"""Names that are made up where the user gives none, and values as people read them."""

from __future__ import annotations

import re
import secrets
import time


def default_run_name(dataset: str) -> str:
    """Named after the data and the time, so that a listing of runs is in order."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", dataset).strip("-.")[:60] or "data"
    return f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def default_model_name(dataset: str) -> str:
    """The data's name with everything left out that a reference (name/3, name@champion) could be mistaken for."""
    return re.sub(r"[^\w. -]+", "-", dataset).strip(" -.")[:100] or "data"


def short(value: object) -> str:
    """A setting, as one of many on a line."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
