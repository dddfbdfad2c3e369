"""What settings are put together from."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

S = TypeVar("S")

HIDDEN = {"hidden": True}
"""Metadata of a field that no user sets: its option is taken, and not listed."""


def part(settings: Any, kind: type[S]) -> S:
    """Those of a base class of these settings, as that class."""
    return kind(**{field.name: getattr(settings, field.name) for field in dataclasses.fields(kind)})  # type: ignore[arg-type]
