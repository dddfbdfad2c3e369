"""What control keeps: feedback meets answers in either order, once, and survives a restart."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.errors import ClusterError
from serve_deployments import live_store
from serve_deployments.live_store import ArmCounts, LiveStore
from serve_deployments.metrics import Tally
from serve_deployments.report import LoggedAnswer
from serve_deployments.windows import Counted, Totals
from tests.serve_deployments.full_disk import full_disk

TESTED = ("champion", "challenger")


def answer(
    request: str, version: str = "1", class_id: int = 0, *, arm: str = "champion", at: float = 100.0
) -> LoggedAnswer:
    return LoggedAnswer(request, 0, version, arm, class_id, 0.9, at)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "live.db"


@pytest.fixture
def store(path: Path) -> Iterator[LiveStore]:
    store = LiveStore(path)
    yield store
    store.close()


def test_feedback_counts_for_the_version_that_answered(store: LiveStore) -> None:
    store.add_answers([answer("a"), answer("b", "2", arm="challenger"), answer("c", "2", arm="challenger")])
    assert [store.add_feedback(request, 0, label) for request, label in (("a", 0), ("b", 1), ("c", 0))] == [True] * 3
    assert store.counts(0, TESTED) == {"1": ArmCounts(1, 1), "2": ArmCounts(2, 1)}


def test_feedback_may_come_before_the_report(store: LiveStore) -> None:
    assert not store.add_feedback("a", 0, 0)
    assert store.counts(0, TESTED) == {}
    store.add_answers([answer("a")])
    assert store.counts(0, TESTED) == {"1": ArmCounts(1, 1)}


def test_repeated_answers_and_feedback_count_once_and_the_newest_label_counts(store: LiveStore) -> None:
    for _ in range(2):
        store.add_answers([answer("a")])
        store.add_feedback("a", 0, 3)
    assert store.counts(0, TESTED) == {"1": ArmCounts(1, 0)}
    store.add_feedback("a", 0, 0)
    assert store.counts(0, TESTED) == {"1": ArmCounts(1, 1)}


def test_other_arms_and_earlier_answers_are_left_out(store: LiveStore) -> None:
    store.add_answers([answer("a", at=50), answer("b", arm="pinned"), answer("c")])
    for request in "abc":
        store.add_feedback(request, 0, 0)
    assert store.counts(99, TESTED) == {"1": ArmCounts(1, 1)}


def test_images_of_a_batch_are_told_apart(store: LiveStore) -> None:
    store.add_answers([answer("a"), answer("a")._replace(image_index=1, class_id=2)])
    store.add_feedback("a", 1, 2)
    assert store.counts(0, TESTED) == {"1": ArmCounts(1, 1)}


def test_it_is_all_there_after_a_restart(store: LiveStore, path: Path) -> None:
    store.add_answers([answer("a"), answer("b")])
    store.add_feedback("a", 0, 0)
    store.add_decision("guardrail", "version 2 gets no traffic", "errors")
    tally = Tally()
    tally.count("manta_images", ("1", "champion"), 7)
    counted = Counted({"a": Totals(tally, {})})
    store.save_counted(counted)
    store.save_text("experiment", "5\tx")
    store.close()
    again = LiveStore(path)
    assert again.add_feedback("b", 0, 1)
    assert again.counts(0, TESTED) == {"1": ArmCounts(2, 1)}
    assert again.counted() == counted
    assert again.text("experiment") == "5\tx"
    assert again.text("unknown") is None
    (decision,) = again.decisions()
    assert (decision["who"], decision["what"], decision["why"]) == ("guardrail", "version 2 gets no traffic", "errors")
    again.close()


def test_it_stays_bounded(store: LiveStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_store, "KEEP_ANSWERS", 3)
    now = time.time()
    store.add_answers([answer(f"r{number}", at=now + number) for number in range(10)])
    store.add_answers([answer("old", at=now - live_store.KEEP_ANSWERS_S - 1)])
    store.prune()
    known = [
        request for request in ("old", *(f"r{number}" for number in range(10))) if store.add_feedback(request, 0, 0)
    ]
    assert len(known) <= 4
    assert known[-1] == "r9"
    assert "old" not in known


def test_a_file_that_is_no_database_is_named(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(ClusterError, match=r"live\.db cannot be opened: .*not a database"):
        LiveStore(path)
    assert path.read_bytes() == b"not a database" * 100, "what may be somebody's only copy is left as it is"


def test_a_full_disk_is_told_and_loses_nothing_that_was_there(store: LiveStore, path: Path) -> None:
    store.add_answers([answer("a"), answer("b")])
    store.add_feedback("a", 0, 0)
    store.add_decision("admin", "version 2 is promoted", "better")
    with full_disk(store):
        refused = pytest.raises(ClusterError, match=r"live\.db cannot be written: database or disk is full")
        with refused:
            store.add_answers([answer(f"{number:0100}") for number in range(1000)])
        with refused:
            store.save_text("experiment", "x" * 100_000)
        with refused:
            store.add_decision("admin", "why", "y" * 100_000)
        assert store.counts(0, TESTED) == {"1": ArmCounts(1, 1)}, "what is there can still be read"
        assert len(store.decisions()) == 1
        assert store.text("experiment") is None
    assert store.add_feedback("b", 0, 0), "once there is room, it goes on"
    store.add_answers([answer("c")])
    store.close()
    again = LiveStore(path)
    assert again.counts(0, TESTED) == {"1": ArmCounts(2, 2)}
    assert again.add_feedback("c", 0, 1)
    again.close()


def test_a_commit_that_fails_is_undone(store: LiveStore) -> None:
    """As when the disk is full only at the end: the next transaction must not find the last one open."""
    store._database.execute("PRAGMA foreign_keys = ON")
    store._database.execute("CREATE TABLE parent (name TEXT PRIMARY KEY)")
    store._database.execute(
        "CREATE TABLE child (name TEXT REFERENCES parent (name) DEFERRABLE INITIALLY DEFERRED)"  # checked by COMMIT
    )
    with pytest.raises(ClusterError, match="FOREIGN KEY"), store._transaction() as database:
        database.execute("INSERT INTO child VALUES ('orphan')")
    store.save_text("experiment", "1")
    assert store.text("experiment") == "1"
    assert store._read("SELECT count(*) FROM child", ()) == [(0,)]


@pytest.mark.parametrize(
    ("home", "mode"),
    [("", "wal"), ("shared", "delete"), ("shared/scratch", "wal"), ("my files", "delete"), ("unknown", "delete")],
)
def test_no_shared_memory_on_a_network_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str, mode: str
) -> None:
    kinds = {"": "ext4", "shared": "nfs4", "shared/scratch": "xfs", r"my\040files": "cifs", "unknown": "fuse.s3"}
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "".join(
            f"36 35 98:0 / {tmp_path / folder} rw,noatime shared:1 - {kind} server:/export rw\n"
            for folder, kind in kinds.items()
        )
    )
    monkeypatch.setattr(live_store, "_MOUNTS", mounts)
    path = tmp_path / home / "home" / "live.db"
    former, store = LiveStore(path), LiveStore(path)
    with contextlib.closing(former), contextlib.closing(store):
        assert store._database.execute("PRAGMA journal_mode").fetchone() == (mode,)
        former.add_answers([answer("a")])
        assert store.add_feedback("a", 0, 0), "a successor goes on while the former one still has the file open"
