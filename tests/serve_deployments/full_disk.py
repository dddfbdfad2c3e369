"""A disk that is full for control's database alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from serve_deployments.live_store import LiveStore


@contextlib.contextmanager
def full_disk(store: LiveStore) -> Iterator[None]:
    """SQLite then has no page more for this file."""
    database = store._database
    (pages,) = database.execute("PRAGMA page_count").fetchone()
    database.execute(f"PRAGMA max_page_count = {pages}")
    yield
    database.execute("PRAGMA max_page_count = 1000000")
