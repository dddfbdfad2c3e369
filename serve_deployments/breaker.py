"""A circuit breaker: a version that keeps failing gets no requests for a while, then one to try.

The pattern is M. Nygard's (Release It!, 2007).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable


class Breaker:
    """One version's, in one router. `clock` gives seconds."""

    def __init__(
        self,
        *,
        failures: int = 5,
        window: int = 20,
        pause_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Opens when `failures` of the newest `window` requests failed, for `pause_s` seconds."""
        self._failures = failures
        self._recent: deque[bool] = deque(maxlen=window)
        self._pause_s = pause_s
        self._clock = clock
        self._closes_at: float | None = None
        self._on_trial = False
        self.reason = ""
        """The newest failure, while open."""

    @property
    def is_open(self) -> bool:
        return self._closes_at is not None

    def admits(self) -> bool:
        """Whether the next request may go to the version. After the pause one may, as a trial."""
        if self._closes_at is None:
            return True
        if self._on_trial or self._clock() < self._closes_at:
            return False
        self._on_trial = True
        return True

    def succeeded(self) -> None:
        self._recent.append(True)
        if self.is_open:
            self._recent.clear()
            self._closes_at, self._on_trial, self.reason = None, False, ""

    def failed(self, reason: str) -> bool:
        """Whether this failure opened the breaker."""
        self._recent.append(False)
        was_open = self.is_open
        if was_open or self._recent.count(False) >= self._failures:
            self._closes_at, self._on_trial, self.reason = self._clock() + self._pause_s, False, reason
        return self.is_open and not was_open

    def abandoned(self) -> None:
        """The request ended for a reason that says nothing of the version: its client left."""
        self._on_trial = False
