"""What a worker does with an error that starting again would not mend."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import ray.train

from app.errors import BadInput, Diverged, MantaError, NotFound
from app.settings import FitSettings
from train_jobs import worker
from train_jobs.failure import read_failure
from train_jobs.runs import FAILURE_FILE
from train_jobs.worker import WorkerTask, train_worker


def train_as(
    monkeypatch: pytest.MonkeyPatch, folder: Path, error: MantaError, *, rank: int, of: int
) -> MantaError | None:
    """The failure that a worker of this rank leaves when training raises `error`."""

    def fail(_task: WorkerTask) -> None:
        raise error

    context = SimpleNamespace(get_world_rank=lambda: rank, get_world_size=lambda: of)
    monkeypatch.setattr(ray.train, "get_context", lambda: context)
    monkeypatch.setattr(worker, "_train", fail)
    train_worker(WorkerTask(fit=FitSettings(), dataset=folder, folder=folder, threads=1))
    return read_failure(folder / FAILURE_FILE)


def test_an_only_worker_leaves_its_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    left = train_as(monkeypatch, tmp_path, BadInput("too small"), rank=0, of=1)
    assert isinstance(left, BadInput)
    assert str(left) == "too small"


@pytest.mark.parametrize("rank", [0, 1])
def test_an_error_of_one_worker_stops_the_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rank: int) -> None:
    """They would wait for this one until a time-out of half an hour; once started again they find what it left."""
    with pytest.raises(BadInput, match="no compiler"):
        train_as(monkeypatch, tmp_path, BadInput("no compiler"), rank=rank, of=2)
    assert str(read_failure(tmp_path / FAILURE_FILE)) == "no compiler"
    left = train_as(monkeypatch, tmp_path, BadInput("trained again"), rank=1 - rank, of=2)
    assert str(left) == "no compiler"


def test_all_workers_see_a_loss_that_is_no_number(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """So none of them waits, and nothing has to be started again to say so."""
    assert train_as(monkeypatch, tmp_path, Diverged("nan"), rank=1, of=2) is None
    assert str(train_as(monkeypatch, tmp_path, Diverged("nan"), rank=0, of=2)) == "nan"


def test_a_node_without_the_runs_folder_says_so_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="does not see"):
        train_as(monkeypatch, tmp_path / "elsewhere", NotFound("this node does not see it"), rank=0, of=1)
