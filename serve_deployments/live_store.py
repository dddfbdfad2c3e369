"""What `control` keeps on disk, in one SQLite file: answers, feedback, observations, counts of routers, decisions.

Bounded: answers are kept for a day, observations for a week, and of both the newest at most.
"""

from __future__ import annotations

import contextlib
import logging
import math
import pickle
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.errors import ClusterError
from serve_deployments.observation import Observation
from serve_deployments.report import LoggedAnswer
from serve_deployments.windows import Counted

logger = logging.getLogger("ray.serve")

KEEP_ANSWERS_S = 24 * 3600.0
KEEP_ANSWERS = 1_000_000
KEEP_OBSERVATIONS_S = 7 * 24 * 3600.0
KEEP_OBSERVATIONS = 200_000
KEEP_PENDING_S = 60.0
"""Feedback may come before the router's report of the answer has."""

_MOUNTS = Path("/proc/self/mountinfo")
_LOCAL = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "tmpfs", "overlay"})
"""File systems of one machine's own."""

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
CREATE TABLE IF NOT EXISTS observations (
    number INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, bundle_uri TEXT NOT NULL, prediction INTEGER NOT NULL,
    confidence REAL NOT NULL, brightness REAL NOT NULL, contrast REAL NOT NULL, saturation REAL NOT NULL,
    sharpness REAL NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS observations_at ON observations (at, bundle_uri);
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
    """One writer. Calls block, for milliseconds: they belong into a thread.

    Each raises ClusterError when the file cannot be read or written, because the disk is full, say. Nothing of what it
    was to write is there then, and the next call is as good as any.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        try:
            self._database = sqlite3.connect(path, check_same_thread=False, timeout=10, isolation_level=None)
            self._database.execute(f"PRAGMA journal_mode = {_journal_mode(path)}")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise ClusterError(f"{path} cannot be opened: {error}; control needs it, or none at all") from error

    def close(self) -> None:
        self._database.close()

    # Answers and feedback

    def add_answers(self, answers: Iterable[LoggedAnswer], observations: Iterable[Observation] = ()) -> None:
        """Repeated ones replace themselves. Feedback that waited for them is joined."""
        with self._transaction() as database:
            database.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)", answers)
            columns = ", ".join(Observation._fields)
            database.executemany(
                f"INSERT OR IGNORE INTO observations ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", observations
            )
            _join(database)

    def add_feedback(self, request_id: str, image_index: int, label: int) -> bool:
        """Whether the answer is known already; otherwise the label waits for it a while. The newest label counts."""
        key = (request_id, image_index)
        with self._transaction() as database:
            database.execute("INSERT OR REPLACE INTO pending VALUES (?, ?, ?, ?)", (*key, label, time.time()))
            _join(database)
        return not self._read("SELECT 1 FROM pending WHERE request_id = ? AND image_index = ?", key)

    def counts(self, since: float, arms: Sequence[str], *, until: float = math.inf) -> dict[str, ArmCounts]:
        """Feedback by version, to answers that these arms gave in this time (seconds since the epoch)."""
        rows = self._read(
            "SELECT version, count(*), sum(class_id = label) FROM feedback "
            f"WHERE answered_at BETWEEN ? AND ? AND arm IN ({', '.join('?' * len(arms))}) GROUP BY version",
            (since, until, *arms),
        )
        return {version: ArmCounts(n, correct) for version, n, correct in rows}

    def observations(self, bundle_uri: str, since: float, *, most: int) -> list[Observation]:
        """Of one bundle's answers; where there are more than `most`, every second, third, ... of them.

        since: seconds since the epoch.
        """
        where = "FROM observations WHERE at >= ? AND bundle_uri = ?"
        ((found,),) = self._read(f"SELECT count(*) {where}", (since, bundle_uri))
        rows = self._read(
            f"SELECT {', '.join(Observation._fields)} {where} AND number % ? = 0 ORDER BY number",
            (since, bundle_uri, max(1, -(-found // most))),
        )
        return [Observation(*row) for row in rows]

    def prune(self) -> None:
        """Forgets what is too old or too much. Feedback stays: it is little, and an experiment may last for weeks."""
        now = time.time()
        with self._transaction() as database:
            database.execute("DELETE FROM pending WHERE at < ?", (now - KEEP_PENDING_S,))
            database.execute("DELETE FROM answers WHERE at < ?", (now - KEEP_ANSWERS_S,))
            database.execute("DELETE FROM observations WHERE at < ?", (now - KEEP_OBSERVATIONS_S,))
            for table, most in (("answers", KEEP_ANSWERS), ("observations", KEEP_OBSERVATIONS)):
                database.execute(
                    f"DELETE FROM {table} WHERE at < (SELECT at FROM {table} ORDER BY at DESC LIMIT 1 OFFSET ?)",
                    (most,),
                )

    # Decisions

    def add_decision(self, who: str, what: str, why: str) -> None:
        with self._transaction() as database:
            database.execute(
                "INSERT INTO decisions (at, who, what, why) VALUES (?, ?, ?, ?)", (time.time(), who, what, why)
            )

    def decisions(self, newest: int = 100) -> list[dict[str, Any]]:
        """Newest first."""
        rows = self._read("SELECT at, who, what, why FROM decisions ORDER BY number DESC LIMIT ?", (newest,))
        return [dict(zip(("at", "who", "what", "why"), row, strict=True)) for row in rows]

    # State

    def save_counted(self, counted: Counted) -> None:
        self._save("counted", pickle.dumps(counted))

    def counted(self) -> Counted:
        """As it was saved; nothing where another Manta saved what this one does not know."""
        found = self._load("counted")
        try:
            return pickle.loads(found) if found else Counted()
        except (pickle.UnpicklingError, AttributeError, ImportError, TypeError, EOFError) as error:
            logger.warning("counters begin at zero: what was counted before cannot be read (%s)", error)
            return Counted()

    def save_text(self, name: str, text: str) -> None:
        self._save(name, text.encode())

    def text(self, name: str) -> str | None:
        found = self._load(name)
        return found.decode() if found is not None else None

    def _save(self, name: str, value: bytes) -> None:
        with self._transaction() as database:
            database.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (name, value))

    def _load(self, name: str) -> bytes | None:
        found = self._read("SELECT value FROM state WHERE name = ?", (name,))
        return found[0][0] if found else None

    def _read(self, query: str, parameters: Sequence[Any]) -> list[Any]:
        try:
            return self._database.execute(query, parameters).fetchall()
        except sqlite3.Error as error:
            raise ClusterError(f"{self._path} cannot be read: {error}") from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All of it or nothing."""
        try:
            self._database.execute("BEGIN IMMEDIATE")
            yield self._database
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            raise ClusterError(f"{self._path} cannot be written: {error}") from error
        finally:
            if self._database.in_transaction:  # also after a COMMIT that failed
                self._database.execute("ROLLBACK")


def _journal_mode(path: Path) -> str:
    """WAL where memory can be shared through files, which it needs and network file systems lack; else DELETE.

    Exclusive locking would let WAL do without, but a control that was given up on a lost node would keep its successor
    out for as long as the file server believes in it.
    """
    places: dict[Path, str] = {}
    with contextlib.suppress(OSError):
        for line in _MOUNTS.read_text(encoding="utf-8").splitlines():
            mount, _, source = line.partition(" - ")  # proc(5): the type comes first behind the dash
            places[Path(mount.split()[4].replace("\\040", " "))] = source.split()[0]
    folder = path.parent.resolve()
    kind = next((places[each] for each in (folder, *folder.parents) if each in places), "")
    return "WAL" if kind in _LOCAL else "DELETE"


def _join(database: sqlite3.Connection) -> None:
    database.execute(_JOIN)
    database.execute(
        "DELETE FROM pending WHERE (request_id, image_index) IN (SELECT request_id, image_index FROM answers)"
    )
