"""Who changes the service: one process at a time, wherever it runs."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator

from app.config import Home
from app.errors import ClusterError

_LOOK_S = 0.1


@contextlib.contextmanager
def changing(home: Home, *, patience_s: float = 60.0) -> Iterator[None]:
    """Waits for its turn. Raises ClusterError when somebody else takes too long; a killed process holds nothing back.

    Serve's API takes a whole document and compares nothing, so two that read, change and write it at once would lose
    one of the changes.
    """
    home.root.mkdir(parents=True, exist_ok=True)
    with home.serve_lock.open("a") as file:
        deadline = time.monotonic() + patience_s
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ClusterError("somebody else has been changing the service for long; try again") from None
                time.sleep(_LOOK_S)
        yield
