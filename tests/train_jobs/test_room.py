"""How much runs at once, and with what, on clusters of many sizes that are none: what Ray tells of them is made up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray

import train_jobs.cores
from app.config import CPU
from app.errors import ClusterError
from app.settings import SweepSettings, TrainSettings
from cluster.environment import MARK
from train_jobs.ray_training import Workers, check_room
from train_jobs.runs import Run
from train_jobs.sweep import concurrency

ClusterOf = Callable[..., None]


@pytest.fixture
def cluster_of(monkeypatch: pytest.MonkeyPatch) -> ClusterOf:
    """Makes Ray tell of a cluster of so many logical CPUs and GPUs, on machines of so many cores: this is the first."""

    def make(
        cpus: float, gpus: float = 0, *, cores: int = 64, nodes: int = 1, dead: int = 0, free: float | None = None
    ) -> None:
        total = {"CPU": cpus, "memory": 1e9, **({"GPU": gpus} if gpus else {})}
        monkeypatch.setattr(ray, "cluster_resources", lambda: total)
        # Ray leaves out what is wholly taken.
        rest = {**total, "CPU": cpus if free is None else free}
        monkeypatch.setattr(ray, "available_resources", lambda: {name: left for name, left in rest.items() if left})
        listed = [
            {"NodeID": str(number), "Alive": number < nodes, "Resources": {"CPU": float(cores) if number else cpus}}
            for number in range(nodes + dead)
        ]
        monkeypatch.setattr(ray, "nodes", lambda: listed)
        monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "0"))
        monkeypatch.setattr(train_jobs.cores, "usable_cores", lambda: cores)

    return make


def sweep_settings(
    workers: str = "1", *, search: str = "random", trials: int = 100, **changed: object
) -> SweepSettings:
    return SweepSettings(workers=workers, search=search, trials=trials, **changed)  # type: ignore[arg-type]


# Trials at a time


@pytest.mark.parametrize(
    ("cpus", "workers", "trials_at_once"),
    [
        (2, "1", 3),
        (2, "2", 1),
        (8, "1", 14),
        (8, "2", 7),
        (8, "4", 3),
        (3.3, "1", 6),
        (1.65, "1", 3),
        (3.29, "1", 5),
        (8, "1:4", 3),
        (0.55, "1", 1),
        (0.5, "1", 1),
        (1, "4", 1),
    ],
)
def test_as_many_trials_as_there_are_logical_cpus_for(
    cluster_of: ClusterOf, cpus: float, workers: str, trials_at_once: int
) -> None:
    """A trial and all of its workers, also those that a range may come to; one, where there is room for none."""
    cluster_of(cpus)
    assert concurrency(sweep_settings(workers)) == trials_at_once


@pytest.mark.parametrize(
    ("cores", "workers", "trials_at_once"), [(2, "1", 2), (4, "2", 2), (5, "2", 2), (4, "1:4", 1), (1, "2", 1)]
)
def test_each_worker_has_a_core(cluster_of: ClusterOf, cores: int, workers: str, trials_at_once: int) -> None:
    """However many logical CPUs were declared."""
    cluster_of(1000, cores=cores)
    assert concurrency(sweep_settings(workers)) == trials_at_once


def test_the_cores_of_living_machines_count(cluster_of: ClusterOf) -> None:
    cluster_of(1000, cores=4, nodes=3, dead=2)
    assert concurrency(sweep_settings()) == 12


@pytest.mark.parametrize(
    ("gpus", "workers", "gpu", "trials_at_once"),
    [
        (4, "1", None, 4),
        (4, "2", None, 2),
        (5, "2", None, 2),
        (1, "2", None, 19),
        (3, "1:2", None, 1),
        (1, "1:2", None, 1),
        (4, "1", False, 36),
        (0, "1", None, 36),
        (0, "1", True, 1),
        (3, "1", True, 3),
    ],
)
def test_as_many_trials_as_there_are_gpus_for(
    cluster_of: ClusterOf, gpus: float, workers: str, gpu: bool | None, trials_at_once: int
) -> None:
    """Where workers get one: because there are enough for the fewest of a trial, or because it was asked for."""
    cluster_of(20, gpus)
    assert concurrency(sweep_settings(workers, gpu=gpu)) == trials_at_once


@pytest.mark.parametrize(("trials", "trials_at_once"), [(16, 10), (40, 10), (48, 12), (400, 64), (3, 3)])
def test_with_tpe_most_trials_are_chosen_by_the_results_of_others(
    cluster_of: ClusterOf, trials: int, trials_at_once: int
) -> None:
    cluster_of(1000)
    assert concurrency(sweep_settings(search="tpe", trials=trials)) == trials_at_once


def test_there_are_never_more_than_all_trials(cluster_of: ClusterOf) -> None:
    cluster_of(1000)
    assert concurrency(sweep_settings(trials=5)) == 5
    assert concurrency(sweep_settings(trials=5, concurrent=9)) == 5


@pytest.mark.parametrize(("asked", "trials_at_once"), [(1, 1), (3, 3), (14, 14), (15, 14), (99, 14)])
@pytest.mark.parametrize("search", ["random", "tpe"])
def test_who_asks_gets_as_many_as_there_is_room_for(
    cluster_of: ClusterOf, asked: int, trials_at_once: int, search: str
) -> None:
    """Also more than there are cores, and more than TPE would learn from; a further one would hold a place and wait."""
    cluster_of(8, cores=2)
    assert concurrency(sweep_settings(search=search, concurrent=asked)) == trials_at_once


# Workers of a run


def workers_of(**settings: object) -> Workers:
    return Workers.of(Run(Path("run"), TrainSettings(**settings), "tracking"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "number", "text", "threads"),
    [
        ("1", 1, "1 training worker", 8),
        ("2", 2, "2 training workers", 4),
        ("3", 3, "3 training workers", 2),
        ("16", 16, "16 training workers", 1),
        ("1:2", (1, 2), "1 to 2 training workers", 4),
        ("2:2", 2, "2 training workers", 4),
    ],
)
def test_the_workers_of_a_run_share_the_cores(
    cluster_of: ClusterOf, asked: str, number: int | tuple[int, int], text: str, threads: int
) -> None:
    cluster_of(8, cores=8)
    workers = workers_of(workers=asked)
    assert (workers.number, str(workers), workers.threads) == (number, text, threads)
    assert workers.resources == {"CPU": CPU.train_worker, "GPU": 0}
    assert workers_of(workers=asked, threads=5).threads == 5


@pytest.mark.parametrize(
    ("gpus", "asked", "gpu", "each"),
    [
        (0, "1", None, 0),
        (1, "1", None, 1),
        (1, "2", None, 0),
        (1, "1:2", None, 1),
        (2, "2", None, 1),
        (2, "2", False, 0),
        (0, "2", True, 1),
    ],
)
def test_workers_get_gpus_where_there_are_enough_for_the_fewest(
    cluster_of: ClusterOf, gpus: float, asked: str, gpu: bool | None, each: float
) -> None:
    cluster_of(8, gpus)
    assert workers_of(workers=asked, gpu=gpu).resources["GPU"] == each


# Room for them


@pytest.fixture
def own_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not grow: Manta started it on this machine."""
    monkeypatch.setenv(MARK, "mark")


@pytest.fixture
def other_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MARK, raising=False)


@pytest.mark.parametrize("asked", ["4", "4:9"])
def test_workers_that_have_room_start_without_a_word(
    own_cluster: None, cluster_of: ClusterOf, capsys: pytest.CaptureFixture[str], asked: str
) -> None:
    """The fewest of a range suffice."""
    cluster_of(2)
    check_room(workers_of(workers=asked))
    assert capsys.readouterr().out == ""


def test_workers_that_wait_for_others_to_end_say_so(
    own_cluster: None, cluster_of: ClusterOf, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster_of(2, free=0.4)
    check_room(workers_of(workers="1:2"))
    assert capsys.readouterr().out == "waiting for room: 1 workers need 0.5 CPUs, 0.4 are free\n"
    cluster_of(2, free=0)
    check_room(workers_of(workers="2"))
    assert capsys.readouterr().out == "waiting for room: 2 workers need 1 CPUs, 0 are free\n"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workers": "5"}, r"5 workers need 2\.5 CPUs of the cluster's 2; pass fewer --workers, or"),
        ({"workers": "5:9"}, r"5 workers need 2\.5 CPUs of the cluster's 2; pass fewer --workers, or"),
        ({"workers": "2", "gpu": True}, r"2 workers need 2 GPUs of the cluster's 1; pass fewer --workers, or"),
    ],
)
def test_workers_that_would_wait_for_ever_are_refused(
    own_cluster: None, cluster_of: ClusterOf, settings: dict[str, object], message: str
) -> None:
    cluster_of(2, gpus=1)
    with pytest.raises(ClusterError, match=f"^{message}"):
        check_room(workers_of(**settings))


def test_a_cluster_of_others_may_grow(
    other_cluster: None, cluster_of: ClusterOf, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster_of(2)
    check_room(workers_of(workers="5", gpu=True))
    told = capsys.readouterr().out.splitlines()
    assert told == [
        "waiting for room: 5 workers need 2.5 CPUs, 2 are free",
        "waiting for room: 5 workers need 5 GPUs, 0 are free",
    ]
