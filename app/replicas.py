"""How many replicas of something run: always as many, or as many as the load needs."""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.errors import BadInput


@dataclass(frozen=True, slots=True)
class Replicas:
    least: int
    most: int
    """Above `least`, the number follows the load."""

    @classmethod
    def parse(cls, text: str | int) -> Replicas:
        """text: a number, or a range such as 1:4. Raises BadInput."""
        found = re.fullmatch(r"(\d{1,4})(?::(\d{1,4}))?", str(text))
        replicas = cls(int(found[1]), int(found[2] or found[1])) if found else cls(0, 0)
        if not 1 <= replicas.least <= replicas.most:
            raise BadInput(f"replicas are a number from 1 on, or a range such as 1:4, not {str(text)[:50]!r}")
        return replicas
