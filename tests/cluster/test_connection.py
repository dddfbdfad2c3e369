from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from app.config import Home
from app.errors import ClusterError
from cluster.connection import Connection, connect, missing_serve_flags
from cluster.dashboard import Dashboard
from cluster.environment import SERVE_FLAGS
from cluster.local import LocalCluster


@pytest.fixture(autouse=True)
def _no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)


def test_without_a_cluster_the_command_that_starts_one_is_named(home: Home) -> None:
    with pytest.raises(ClusterError, match="no cluster runs; start one with `manta up`"):
        connect(home)


def test_the_home_folders_cluster_is_the_default(cluster: LocalCluster, cluster_home: Home) -> None:
    connection = connect(cluster_home)
    assert connection == Connection(cluster.dashboard_url, cluster)
    assert missing_serve_flags(connection) == ()
    version = httpx.get(f"{connection.dashboard_url}/api/version", headers=connection.headers, trust_env=False)
    assert version.json()["ray_version"]


def test_an_address_wins_over_the_home_folder(
    cluster_home: Home, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://10.0.0.1:8265/")
    assert connect(cluster_home) == Connection("http://10.0.0.1:8265", None)
    # As inside a job, where Ray sets it to the head's address.
    monkeypatch.setenv("RAY_ADDRESS", cluster.gcs_address)
    assert connect(cluster_home).local == cluster


def test_the_dashboard_is_found_from_the_heads_address(
    home: Home, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", cluster.gcs_address)
    assert connect(home) == Connection(cluster.dashboard_url, None)


def test_flags_of_a_cluster_that_is_not_ours_are_read_by_a_job(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = Connection(cluster.dashboard_url, None)
    monkeypatch.setattr("cluster.connection.SERVE_FLAGS", {**SERVE_FLAGS, "RAY_SERVE_NOT_SET": "1"})
    assert missing_serve_flags(foreign) == ("RAY_SERVE_NOT_SET",)


def test_a_wrong_token_is_one_clear_line(
    cluster: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    dashboard = Dashboard(cluster.dashboard_url)
    with pytest.raises(ClusterError, match="refused this user's token; name the right one with RAY_AUTH_TOKEN"):
        dashboard.get("/api/jobs/")
    dashboard.close()
