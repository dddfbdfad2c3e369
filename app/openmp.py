"""How torch's threads wait for each other."""

from __future__ import annotations

from collections.abc import Mapping

WAITING: Mapping[str, str] = {
    "OMP_WAIT_POLICY": "PASSIVE",
    # Turns of a loop, a few microseconds, before a thread sleeps.
    "GOMP_SPINCOUNT": "5000",
}
"""Environment that OpenMP reads when it is loaded: threads spin shortly, then sleep.

Between two operations of a network a thread waits for less time than it takes to wake it. Threads, though, that
spin until they are needed take the cores from those they wait for, wherever other programs want them too
(docs/PERFORMANCE.md).
"""
