"""How the C library gives memory back to the system."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
"""Of glibc's <malloc.h>."""


def keep_freed_memory() -> None:
    """For a process that trains: what a step frees is kept for the next one.

    glibc otherwise returns large blocks at once, and the system clears every page of them again in each step: a tenth
    of the time of some networks (docs/PERFORMANCE.md). A no-op with other C libraries.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)
