"""What tests share: a home folder, and one real Ray cluster for the whole test session."""

from __future__ import annotations

import logging
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

# Ray reads this when it is first imported, which may happen while tests are collected.
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Read when torch is first imported: tests share their cores with the cluster they test.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from app.config import Home
from app.mlflow_store import open_client
from app.registry import Registry
from cluster import local
from cluster.local import LocalCluster
from tests.pipeline_run import PipelineRun, run_pipeline


def pytest_configure(config: pytest.Config) -> None:
    """Ctrl-C works, and warnings of others that would be errors here are ignored."""
    # A shell that starts the tests in the background has SIGINT ignored, and that is inherited: tests that
    # interrupt themselves would wait for ever.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # ray.serve.schema, at import: `Field(update_type=...)`, which pydantic 2 deprecates.
    config.addinivalue_line("filterwarnings", "ignore:Using extra keyword arguments on `Field`:DeprecationWarning")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Marks the tests of the session's cluster: `make test` runs them beside all others."""
    if "cluster" in getattr(item, "fixturenames", ()):
        item.add_marker(pytest.mark.ray)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home folder of its own, named by `MANTA_HOME` while the test runs."""
    monkeypatch.setenv("MANTA_HOME", str(tmp_path / "home"))
    return Home.from_env()


@pytest.fixture(scope="session")
def fresh_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database in which nothing is registered: to make one takes seconds."""
    made = Home(tmp_path_factory.mktemp("store") / "home")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        open_client(made)
    return made.mlflow_database


@pytest.fixture
def registry(home: Home, fresh_store: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The registry of `home`, with nothing in it."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    home.root.mkdir(parents=True)
    shutil.copy(fresh_store, home.mlflow_database)
    return Registry(home)


@pytest.fixture(scope="session")
def cluster_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The home folder that the session's cluster was started with."""
    return Home(tmp_path_factory.mktemp("manta") / "home")


@pytest.fixture(scope="session")
def cluster(cluster_home: Home) -> Iterator[LocalCluster]:
    """A real cluster with two logical CPUs, the smallest that all of Manta must fit on."""
    started = local.start(cluster_home, num_cpus=2, object_store_bytes=400 << 20)
    yield started
    local.stop(cluster_home)


@pytest.fixture(scope="session")
def ray_driver(cluster: LocalCluster) -> Iterator[LocalCluster]:
    """This process is connected to the cluster, as a job's driver is."""
    import ray

    ray.init(address=cluster.gcs_address, namespace="tests", log_to_driver=False, logging_level=logging.WARNING)
    yield cluster
    ray.shutdown()


@pytest.fixture(scope="session")
def pipeline_run(cluster: LocalCluster, cluster_home: Home) -> PipelineRun:
    """One pipeline job for the whole session: what it registered stays, its service does not."""
    return run_pipeline(cluster, cluster_home)
