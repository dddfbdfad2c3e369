"""Real deployments on the session's cluster, in the order of a service's life."""

from __future__ import annotations

import dataclasses
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.errors import BadInput, ClusterError, GateFailed, NotFound, PortInUse
from cluster import deployment
from cluster.local import LocalCluster
from cluster.ports import free_port
from cluster.serve_client import ServeClient, ServedApplication, ServeState, wait_until_answering
from cluster.serve_document import (
    ServedVersion,
    Traffic,
    build_document,
    classifier_application,
    router_application,
    with_traffic,
)
from tests.bundles import write_colour_bundle

HOST = "127.0.0.1"


@pytest.fixture(scope="module")
def client(cluster: LocalCluster) -> Iterator[ServeClient]:
    """Leaves the session's cluster without Serve, as it was found."""
    client = ServeClient(cluster.dashboard_url)
    yield client
    client.shutdown()
    client.close()


@pytest.fixture(scope="module")
def port(client: ServeClient) -> int:
    """Where the whole module's service listens: Serve cannot move while it runs."""
    return free_port()


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Versions 1 and 2 are sound, the graph of 3 was changed, 4 has other labels."""
    folder = tmp_path_factory.mktemp("bundles")
    for version in "123":
        write_colour_bundle(folder / version)
    (folder / "3" / "model.onnx").write_bytes(b"cut off")
    write_colour_bundle(folder / "4", labels=("cyan", "magenta", "yellow"))
    return folder


@pytest.fixture
def served(bundles: Path) -> list[ServedVersion]:
    """Versions 1 to 4; 1 is the champion."""
    versions = [ServedVersion(version=name, bundle_uri=(bundles / name).as_uri(), weight=0.5) for name in "1234"]
    return [dataclasses.replace(versions[0], aliases=("champion",)), *versions[1:]]


def test_a_deployed_version_answers_and_a_second_joins_without_touching_it(
    client: ServeClient, port: int, served: list[ServedVersion]
) -> None:
    seen: list[dict[str, str]] = []
    first = deployment.deploy(
        client, "colours", served[:1], host=HOST, port=port, on_progress=lambda status: seen.append(dict(status))
    )
    assert first.revision == 1
    assert client.state().traffic == first
    assert {"router", "classifier-1"} <= seen[0].keys()
    wait_until_answering(f"http://{HOST}:{port}")

    with _Watch(f"http://{HOST}:{port}/health/ready") as watch:
        second = deployment.deploy(client, "colours", served[:2], host=HOST, port=port)
    assert second.revision == 2
    assert watch.answers > 10
    assert watch.wrong == []
    assert {name: each.status for name, each in client.state().applications.items()} == {
        "router": "RUNNING",
        "classifier-1": "RUNNING",
        "classifier-2": "RUNNING",
    }


def test_a_version_that_does_not_load_leaves_the_old_service_as_it_was(
    client: ServeClient, port: int, served: list[ServedVersion]
) -> None:
    before = client.state()
    assert before.traffic is not None
    with (
        _Watch(f"http://{HOST}:{port}/health/ready") as watch,
        pytest.raises(ClusterError, match=r"^classifier-3 did not start: .*model\.onnx was changed"),
    ):
        deployment.deploy(client, "colours", served[:3], host=HOST, port=port)
    assert watch.wrong == []
    after = client.state()
    assert after.traffic == before.traffic
    assert after.declared.keys() == before.declared.keys()


def test_weights_change_in_place_and_only_from_the_live_revision(client: ServeClient) -> None:
    live = client.state().traffic
    assert live is not None
    other = tuple(dataclasses.replace(version, weight=1.0) for version in live.versions)
    changed = deployment.set_traffic(client, dataclasses.replace(live, versions=other))
    assert changed.revision == live.revision + 1
    assert client.state().traffic == changed
    with pytest.raises(ClusterError, match=f"changed to revision {changed.revision} meanwhile"):
        deployment.set_traffic(client, live)


def test_a_version_that_is_left_out_goes_after_its_traffic_went(
    client: ServeClient, port: int, served: list[ServedVersion]
) -> None:
    champion = dataclasses.replace(served[1], aliases=("champion",))
    with _Watch(f"http://{HOST}:{port}/health/ready") as watch:
        deployment.deploy(client, "colours", [champion], host=HOST, port=port)
    assert watch.wrong == []
    assert client.state().declared.keys() == {"router", "classifier-2"}


def test_a_check_that_fails_puts_back_what_was_served(
    client: ServeClient, port: int, served: list[ServedVersion]
) -> None:
    asked: list[str] = []

    def refuse(url: str) -> None:
        asked.append(httpx.get(f"{url}/model/info", trust_env=False, timeout=30).json()["model_version"])
        raise GateFailed("not good enough")

    with pytest.raises(GateFailed, match="not good enough"):
        deployment.put_live(client, "colours", served[0], port=port, check=refuse)
    assert asked == ["1"], "the check sees the new version live"
    deadline = time.monotonic() + 30
    while httpx.get(f"http://{HOST}:{port}/model/info", trust_env=False, timeout=30).json().get("model_version") != "2":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert client.state().declared.keys() == {"router", "classifier-2"}


def test_a_running_service_does_not_move_to_another_port(
    client: ServeClient, port: int, served: list[ServedVersion]
) -> None:
    with pytest.raises(ClusterError, match=f"already listens on {HOST}:{port}"):
        deployment.deploy(client, "colours", served[1:2], host=HOST, port=free_port())


@pytest.mark.parametrize(
    ("chosen", "error", "message"),
    [
        ([0, 3], BadInput, "other labels"),
        ([0, 0], BadInput, "named twice"),
        ([], BadInput, "nobody would answer"),
    ],
)
def test_versions_that_cannot_be_served_are_refused_before_anything_is_asked(
    served: list[ServedVersion], chosen: list[int], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        deployment.deploy(_untouched(), "colours", [served[each] for each in chosen], host=HOST, port=1)


def test_a_bundle_that_is_not_there_is_not_found(served: list[ServedVersion], tmp_path: Path) -> None:
    gone = dataclasses.replace(served[0], bundle_uri=(tmp_path / "gone").as_uri())
    with pytest.raises(NotFound, match="gone"):
        deployment.deploy(_untouched(), "colours", [gone], host=HOST, port=1)


def test_a_first_deployment_refuses_a_taken_port(served: list[ServedVersion]) -> None:
    class Idle(ServeClient):
        def __init__(self) -> None: ...
        def state(self) -> ServeState:
            return ServeState(host=None, port=None, applications={})

    with socket.create_server((HOST, 0)) as server, pytest.raises(PortInUse):
        deployment.deploy(Idle(), "colours", served[:1], host=HOST, port=server.getsockname()[1])


def test_a_plan_keeps_what_runs_and_what_is_not_mantas(served: list[ServedVersion]) -> None:
    """Running applications keep their deployed settings: a changed one would restart them."""
    live = Traffic(model="colours", versions=(served[0],), revision=4)
    router = {**with_traffic(router_application(), live), "args": {"max_batch": 8}}
    running = [router, classifier_application(served[0]), {"name": "somebody-elses", "import_path": "a:b"}]
    state = ServeState(
        host=HOST,
        port=8000,
        applications={
            str(config["name"]): ServedApplication(
                name=str(config["name"]), status="RUNNING", failure="", config=config, replicas=1
            )
            for config in running
        },
    )
    plan = deployment.plan_deployment(state, "colours", [served[1]])
    assert plan.after["somebody-elses"] == running[2]
    assert plan.after["router"] == router
    assert (plan.added, plan.dropped) == (["classifier-2"], ["classifier-1"])
    assert plan.traffic_before == live
    assert plan.traffic_after.revision == 5
    build_document(plan.after.values(), host=HOST, port=8000)


def _untouched() -> ServeClient:
    """A client whose every use fails."""
    return ServeClient.__new__(ServeClient)


class _Watch:
    """Asks for a URL again and again while the block runs, and keeps every answer that is not 200."""

    def __init__(self, url: str) -> None:
        self.answers = 0
        self.wrong: list[str] = []
        self._url = url
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        with httpx.Client(trust_env=False, timeout=10.0) as client:
            while not self._over.wait(0.02):
                try:
                    answer = client.get(self._url)
                except httpx.HTTPError as error:
                    self.wrong.append(repr(error))
                    continue
                self.answers += 1
                if answer.status_code != 200:
                    self.wrong.append(f"{answer.status_code} {answer.text[:200]}")
