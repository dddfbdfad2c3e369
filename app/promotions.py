"""The promotion log: who moved which alias, when and why. One JSON object a line, only ever appended to."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """One line of the promotion log: an alias moved."""

    when: str
    who: str
    model: str
    alias: str
    before: str
    """Version the alias pointed at; empty for none."""
    after: str
    why: str


def append_promotion(log: Path, promotion: Promotion) -> None:
    """One write of one line in append mode, then fsync: a crash cannot damage earlier lines.

    Raises OSError where not all of it could be written.
    """
    line = json.dumps(asdict(promotion), ensure_ascii=False).encode() + b"\n"
    with log.open("a+b", buffering=0) as file:
        if _is_cut(file):
            line = b"\n" + line
        if file.write(line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(log))
        os.fsync(file.fileno())


def read_promotions(log: Path) -> list[Promotion]:
    """All promotions, oldest first; a line that a crash cut off is left out."""
    if not log.is_file():
        return []
    return [promotion for line in log.read_bytes().split(b"\n") if (promotion := _promotion(line)) is not None]


def _promotion(line: bytes) -> Promotion | None:
    try:
        return Promotion(**json.loads(line))
    except (ValueError, TypeError):  # cut off
        return None


def _is_cut(log: BinaryIO) -> bool:
    """Whether the last line lacks its end, so that the next one would be joined to it."""
    if log.seek(0, os.SEEK_END) == 0:
        return False
    log.seek(-1, os.SEEK_END)
    return log.read(1) != b"\n"
