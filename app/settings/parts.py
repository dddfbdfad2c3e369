"""Settings that hold others."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

S = TypeVar("S")


def part(settings: Any, kind: type[S]) -> S:
    """Those of a base class of these settings, as that class."""
    return kind(**{field.name: getattr(settings, field.name) for field in dataclasses.fields(kind)})  # type: ignore[arg-type]
