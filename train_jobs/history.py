"""Following a training run from its driver: epochs, and progress within one, as rank 0 writes them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

from app.checkpoint import EpochReport
from train_jobs.job import say
from train_jobs.runs import Run

FOLLOW_INTERVAL_S = 0.25


class HistoryFollower:
    """Calls `on_epoch` in this process for each epoch that rank 0 writes into the run's history."""

    def __init__(self, run: Run, on_epoch: Callable[[EpochReport], None]) -> None:
        self._run, self._on_epoch = run, on_epoch
        self._shown = len(run.history())
        self._progress_written = 0
        run.progress_file.unlink(missing_ok=True)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="follow-history", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_exc: object) -> None:
        self._ended.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._ended.wait(FOLLOW_INTERVAL_S):
            self._show_new()
            self._show_progress()
        self._show_new()

    def _show_new(self) -> None:
        history = self._run.history()
        for report in history[self._shown :]:
            self._on_epoch(report)
        # A restart after a lost worker may rewrite the history from an earlier epoch.
        self._shown = len(history)

    def _show_progress(self) -> None:
        file = self._run.progress_file
        if file.is_file() and (written := file.stat().st_mtime_ns) != self._progress_written:
            self._progress_written = written
            say(f"epoch {self._shown + 1:>3}/{self._run.settings.epochs}  {json.loads(file.read_text()):.0%} done")
