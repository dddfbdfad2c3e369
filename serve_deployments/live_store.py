"""What `control` keeps on disk, in one SQLite file: answers, feedback, counts of routers that are gone, decisions.

Bounded: answers are kept for a day, and the newest million of them at most.
"""

from __future__ import annotations

import pickle
import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serve_deployments.metrics import Tally
from serve_deployments.report import LoggedAnswer

KEEP_ANSWERS_S = 24 * 3600.0
KEEP_ANSWERS = 1_000_000
KEEP_PENDING_S = 60.0
"""Feedback may come before the router's report of the answer has."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    request_id TEXT NOT NULL, image_index INTEGER NOT NULL, version TEXT NOT NULL, arm TEXT NOT NULL,
    class_id INTEGER NOT NULL, confidence REAL NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (request_id, image_index)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS answers_at ON answers (at);
CREATE TABLE IF NOT EXISTS feedback (
    request_id TEXT NOT NULL, image_index INTEGER NOT NULL, version TEXT NOT NULL, arm TEXT NOT NULL,
    class_id INTEGER NOT NULL, label INTEGER NOT NULL, answered_at REAL NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (request_id, image_index)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS feedback_answered_at ON feedback (answered_at);
CREATE TABLE IF NOT EXISTS pending (
    request_id TEXT NOT NULL, image_index INTEGER NOT NULL, label INTEGER NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (request_id, image_index)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS decisions (
    number INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL,
    why TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""

_JOIN = """
INSERT OR REPLACE INTO feedback
SELECT answers.request_id, answers.image_index, version, arm, class_id, label, answers.at, pending.at
FROM pending JOIN answers USING (request_id, image_index)
"""


@dataclass(frozen=True, slots=True)
class ArmCounts:
    """Feedback to one version's answers."""

    n: int
    correct: int


class LiveStore:
    """One writer. Calls block, for milliseconds: they belong into a thread."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(path, check_same_thread=False, timeout=10, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.executescript(_SCHEMA)

    def close(self) -> None:
        self._database.close()

    # Answers and feedback

    def add_answers(self, answers: Iterable[LoggedAnswer]) -> None:
        """Repeated ones replace themselves. Feedback that waited for them is joined."""
        with self._transaction():
            self._database.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)", answers)
            self._join()

    def add_feedback(self, request_id: str, image_index: int, label: int) -> bool:
        """Whether the answer is known already; otherwise the label waits for it a while. The newest label counts."""
        key = (request_id, image_index)
        with self._transaction():
            self._database.execute("INSERT OR REPLACE INTO pending VALUES (?, ?, ?, ?)", (*key, label, time.time()))
            self._join()
            waits = self._one("SELECT count(*) FROM pending WHERE request_id = ? AND image_index = ?", key)
        return waits == 0

    def counts(self, since: float, arms: Sequence[str]) -> dict[str, ArmCounts]:
        """Feedback by version, to answers that these arms gave after `since` (seconds since the epoch)."""
        rows = self._database.execute(
            "SELECT version, count(*), sum(class_id = label) FROM feedback "
            f"WHERE answered_at >= ? AND arm IN ({', '.join('?' * len(arms))}) GROUP BY version",
            (since, *arms),
        )
        return {version: ArmCounts(n, correct) for version, n, correct in rows}

    def prune(self) -> None:
        """Forgets what is too old or too much. Feedback stays: it is little, and an experiment may last for weeks."""
        now = time.time()
        with self._transaction():
            self._database.execute("DELETE FROM pending WHERE at < ?", (now - KEEP_PENDING_S,))
            self._database.execute("DELETE FROM answers WHERE at < ?", (now - KEEP_ANSWERS_S,))
            self._database.execute(
                "DELETE FROM answers WHERE at < (SELECT at FROM answers ORDER BY at DESC LIMIT 1 OFFSET ?)",
                (KEEP_ANSWERS,),
            )

    # Decisions

    def add_decision(self, who: str, what: str, why: str) -> None:
        self._database.execute(
            "INSERT INTO decisions (at, who, what, why) VALUES (?, ?, ?, ?)", (time.time(), who, what, why)
        )

    def decisions(self, newest: int = 100) -> list[dict[str, Any]]:
        """Newest first."""
        rows = self._database.execute(
            "SELECT at, who, what, why FROM decisions ORDER BY number DESC LIMIT ?", (newest,)
        )
        return [dict(zip(("at", "who", "what", "why"), row, strict=True)) for row in rows]

    # State

    def save_tally(self, tally: Tally) -> None:
        """What routers that are gone had counted."""
        self._save("retired", pickle.dumps(tally))

    def tally(self) -> Tally:
        found = self._load("retired")
        return pickle.loads(found) if found else Tally()

    def save_text(self, name: str, text: str) -> None:
        self._save(name, text.encode())

    def text(self, name: str) -> str | None:
        found = self._load(name)
        return found.decode() if found is not None else None

    def _save(self, name: str, value: bytes) -> None:
        self._database.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (name, value))

    def _load(self, name: str) -> bytes | None:
        found = self._database.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
        return found[0] if found else None

    def _join(self) -> None:
        self._database.execute(_JOIN)
        self._database.execute(
            "DELETE FROM pending WHERE (request_id, image_index) IN (SELECT request_id, image_index FROM answers)"
        )

    def _one(self, query: str, parameters: Sequence[Any]) -> Any:
        return self._database.execute(query, parameters).fetchone()[0]

    def _transaction(self) -> _Transaction:
        return _Transaction(self._database)


class _Transaction:
    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def __enter__(self) -> None:
        self._database.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._database.execute("COMMIT" if kind is None else "ROLLBACK")
