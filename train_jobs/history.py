"""Following a training run from its driver: epochs, and progress within one, as rank 0 writes them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

from app.checkpoint import EpochReport
from app.errors import MantaError
from train_jobs.job import say
from train_jobs.runs import Run

FOLLOW_INTERVAL_S = 0.25
RETRY_INTERVAL_S = 5.0
"""Between two attempts to hand over an epoch that `on_epoch` could not take."""


class HistoryFollower:
    """Calls `on_epoch` in this process once for each epoch that rank 0 writes into the run's history.

    When that raises a MantaError, as while a tracking server restarts, it tries again: training does not wait for it.
    """

    def __init__(self, run: Run, on_epoch: Callable[[EpochReport], None], *, after: int | None = None) -> None:
        """after: the last epoch that was handed over before; unless given, all that the history holds were."""
        self._run, self._on_epoch = run, on_epoch
        history = run.history()
        self._last = after if after is not None else history[-1].epoch if history else 0
        self._retry = 0.0
        """When to try again, on the monotonic clock."""
        self._progress_written = 0
        run.progress_file.unlink(missing_ok=True)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="follow-history", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Hands over what is left. Raises what `on_epoch` raises then, unless something else is being raised."""
        self._ended.set()
        self._thread.join()
        try:
            self._hand_over()
        except MantaError:
            if kind is None:
                raise

    def _follow(self) -> None:
        while not self._ended.wait(FOLLOW_INTERVAL_S):
            self._try_to_hand_over()
            self._show_progress()

    def _try_to_hand_over(self) -> None:
        if time.monotonic() < self._retry:
            return
        try:
            self._hand_over()
        except MantaError as error:
            self._retry = time.monotonic() + RETRY_INTERVAL_S
            say(f"training goes on, but epoch {self._last + 1} is not recorded yet: {error}")

    def _hand_over(self) -> None:
        for report in self._run.history():
            # A restart after a lost worker may write epochs again.
            if report.epoch > self._last:
                self._on_epoch(report)
                self._last = report.epoch

    def _show_progress(self) -> None:
        file = self._run.progress_file
        if file.is_file() and (written := file.stat().st_mtime_ns) != self._progress_written:
            self._progress_written = written
            epoch = len(self._run.history()) + 1
            say(f"epoch {epoch:>3}/{self._run.settings.epochs}  {json.loads(file.read_text()):.0%} done")
