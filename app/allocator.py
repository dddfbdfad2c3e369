"""How the C library gives memory back to the system."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Mapping

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
"""Of glibc's <malloc.h>."""

ONE_ARENA: Mapping[str, str] = {"MALLOC_ARENA_MAX": "1"}
"""Environment of a process that trains in a thread which is not its first, as Ray's workers do.

Such a thread otherwise gets an arena of its own, made of blocks of at most 64 MB that are given back however
`keep_freed_memory` is set: 3,300 page faults a second instead of 3 (docs/PERFORMANCE.md).
"""


def keep_freed_memory() -> None:
    """For a process that trains: what a step frees is kept for the next one.

    glibc otherwise returns large blocks at once, and the system clears every page of them again in each step: a tenth
    of the time of some networks (docs/PERFORMANCE.md). A no-op with other C libraries.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)
