"""A change of what is served, on a Serve that only writes down what it is told."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pytest

from app.config import Home
from app.errors import ClusterError
from app.traffic_changes import added, promoted, replaced, stopped, weighted
from app.traffic_file import TrafficFile, TrafficVersion
from cluster import deployment
from cluster.serve_client import ServedApplication, ServeState
from cluster.serve_document import (
    ROUTER,
    classifier_application,
    control_application,
    place,
    router_application,
    traffic_of,
    with_traffic,
)
from tests.bundles import write_colour_bundle


class Serve:
    """Has two versions; `lost` names applications that do not get ready."""

    def __init__(self, traffic: TrafficFile) -> None:
        self.lost: set[str] = set()
        self.documents: list[Mapping[str, Any]] = []
        self._applications = {
            each["name"]: each
            for each in (
                with_traffic(router_application(), traffic),
                control_application(),
                *(classifier_application(version) for version in traffic.versions),
            )
        }

    def state(self) -> ServeState:
        return ServeState(
            host="127.0.0.1",
            port=8000,
            applications={
                name: ServedApplication(
                    name=name, status="RUNNING", failure="", config=config, replicas=1, running_pids=(1,)
                )
                for name, config in self._applications.items()
            },
        )

    def put(self, document: Mapping[str, Any]) -> None:
        self.documents.append(document)
        self._applications = {each["name"]: each for each in document["applications"]}

    def wait_until_running(self, names: Collection[str], **_: object) -> None:
        if late := self.lost.intersection(names):
            raise ClusterError(f"not ready: {late}")

    @property
    def traffic(self) -> TrafficFile:
        traffic = traffic_of(self._applications[ROUTER])
        assert traffic is not None
        return traffic


@pytest.fixture
def versions(tmp_path: Path) -> dict[str, TrafficVersion]:
    for name in "12":
        write_colour_bundle(tmp_path / name)
    return {name: place({}, version=name, bundle_uri=(tmp_path / name).as_uri()) for name in "12"}


@pytest.fixture
def serve(versions: dict[str, TrafficVersion]) -> Serve:
    return Serve(added(replaced(TrafficFile(), "colours", versions["1"]), versions["2"], 50))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The revisions that the service was asked for; it answers."""
    revisions: list[int] = []
    monkeypatch.setattr(
        deployment, "wait_until_answering", lambda _url, *, revision: revisions.append(revision), raising=True
    )
    return revisions


def test_the_service_stays_where_it_listens_unless_told_otherwise(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for a pipeline, whose job has an environment of its own, and for a shell without the variable."""
    state = dataclasses.replace(serve.state(), host="0.0.0.0", grpc_port=9000)
    monkeypatch.setattr(serve, "state", lambda: state)
    address = deployment.service_address(state)
    assert (address.host, address.port, address.grpc_port) == ("0.0.0.0", 8000, 9000)
    deployment.start_serve(serve, address)  # type: ignore[arg-type]
    assert serve.documents == []
    monkeypatch.setenv("MANTA_HTTP_HOST", "127.0.0.1")
    with pytest.raises(ClusterError, match=r"already listens on 0\.0\.0\.0:8000, gRPC on 9000"):
        deployment.start_serve(serve, deployment.service_address(state))  # type: ignore[arg-type]


def change(serve: Serve, home: Home, make: Any) -> TrafficFile:
    return deployment.change(serve, home, lambda traffic, _: make(traffic))  # type: ignore[arg-type]


def test_shares_change_though_a_router_is_lost(serve: Serve, home: Home, asked: list[int]) -> None:
    """A replica that waits for a node keeps Serve deploying for ever: nothing could be stopped or rolled back."""
    serve.lost = {ROUTER}
    change(serve, home, lambda traffic: weighted(traffic, {"2": 10}))
    assert serve.traffic.weights == {"1": 90, "2": 10}
    assert asked == []


def test_a_champion_is_promoted_though_a_router_is_lost(serve: Serve, home: Home, asked: list[int]) -> None:
    serve.lost = {ROUTER}
    change(serve, home, lambda traffic: promoted(traffic, "2"))
    assert serve.traffic.champion is not None
    assert serve.traffic.champion.version == "2"
    assert asked == [serve.traffic.revision], "and it has to answer"


def test_a_champion_that_does_not_answer_is_not_promoted(
    serve: Serve, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A router that starts meanwhile would have nobody to ask, though the former champion is sound."""

    def silent(_url: str, *, revision: int) -> None:
        raise ClusterError(f"nobody answers at revision {revision}")

    monkeypatch.setattr(deployment, "wait_until_answering", silent)
    before = serve.traffic
    with pytest.raises(ClusterError, match="nobody answers"):
        change(serve, home, lambda traffic: promoted(traffic, "2"))
    assert serve.traffic == before


def test_a_version_whose_files_are_gone_can_be_stopped(
    serve: Serve, home: Home, asked: list[int], tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "2")
    change(serve, home, lambda traffic: stopped(traffic, "2"))
    assert serve.traffic.challengers == ()
