"""Real deployments on the session's cluster, in the order of a service's life, in which they take the least time."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.config import Home
from app.errors import BadInput, ClusterError, GateFailed, NotFound, PortInUse
from app.replicas import Replicas
from app.traffic_changes import added, removed, replaced, weighted
from app.traffic_file import TrafficFile, TrafficVersion
from cluster import deployment
from cluster.local import LocalCluster
from cluster.ports import free_port
from cluster.serve_client import ServeClient, ServedApplication, ServeState
from cluster.serve_document import (
    Scale,
    build_document,
    classifier_application,
    control_application,
    place,
    router_application,
    with_traffic,
)
from cluster.serve_lock import changing
from tests.bundles import write_colour_bundle
from tests.waiting import wait_for

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
def served(bundles: Path) -> dict[str, TrafficVersion]:
    return {name: place({}, version=name, bundle_uri=(bundles / name).as_uri()) for name in "1234"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("home"))


@pytest.fixture
def nothing(client: ServeClient) -> None:
    """Serve does not run."""
    if client.state().applications:
        client.shutdown()


@pytest.fixture
def alone(client: ServeClient, home: Home, port: int, served: dict[str, TrafficVersion]) -> None:
    """Version 1 answers everything, whatever the tests before left."""
    live = client.state().traffic
    if live is None:
        put_live(client, home, served["1"], port)
    elif [each.version for each in live.versions] != ["1"]:
        deployment.change(client, home, lambda traffic, _: replaced(traffic, "colours", served["1"]))


@pytest.fixture
def challenged(
    request: pytest.FixtureRequest, client: ServeClient, home: Home, served: dict[str, TrafficVersion]
) -> TrafficFile:
    """Version 2 stands beside the champion, version 1: the traffic file in effect."""
    live = client.state().traffic
    if live is None or [each.version for each in live.challengers] != ["2"]:
        request.getfixturevalue("alone")
        live = deployment.change(client, home, lambda traffic, _: added(traffic, served["2"], 50))
    return live


def put_live(client: ServeClient, home: Home, version: TrafficVersion, port: int, **options: Any) -> str:
    return deployment.put_live(
        client, home, "colours", version=version.version, bundle_uri=version.bundle_uri, port=port, **options
    )


def state_of(*configs: dict[str, Any]) -> ServeState:
    """Of a Serve that runs these applications."""
    applications = {
        config["name"]: ServedApplication(
            name=config["name"], status="RUNNING", failure="", config=config, replicas=1, running_pids=(1,)
        )
        for config in configs
    }
    return ServeState(host=HOST, port=8000, applications=applications)


def test_a_deployed_version_answers_and_a_second_joins_without_touching_it(
    nothing: None, client: ServeClient, home: Home, port: int, served: dict[str, TrafficVersion]
) -> None:
    seen: list[dict[str, str]] = []
    url = put_live(client, home, served["1"], port, on_progress=lambda status: seen.append(dict(status)))
    first = client.state().traffic
    assert first is not None
    assert (first.revision, [each.version for each in first.versions]) == (1, ["1"])
    assert {"router", "classifier-1"} <= seen[0].keys()

    with _Watch(f"{url}/health/ready") as watch:
        second = deployment.change(client, home, lambda traffic, _: added(traffic, served["2"], 50))
    assert second.revision == 2
    assert watch.answers > 10
    assert watch.wrong == []
    statuses = {name: each.status for name, each in client.state().applications.items()}
    assert statuses == dict.fromkeys(("control", "router", "classifier-1", "classifier-2"), "RUNNING")


def test_a_version_that_does_not_load_leaves_the_old_service_as_it_was(
    challenged: TrafficFile, client: ServeClient, home: Home, port: int, served: dict[str, TrafficVersion]
) -> None:
    before = client.state()
    with (
        _Watch(f"http://{HOST}:{port}/health/ready") as watch,
        pytest.raises(ClusterError, match=r"^classifier-3 did not start: .*model\.onnx was changed"),
    ):
        deployment.change(client, home, lambda traffic, _: added(traffic, served["3"], 10))
    assert watch.wrong == []
    after = client.state()
    assert after.traffic == before.traffic
    assert after.declared.keys() == before.declared.keys()


def test_weights_change_in_place(challenged: TrafficFile, client: ServeClient, home: Home) -> None:
    changed = deployment.change(client, home, lambda traffic, _: weighted(traffic, {"2": 20}))
    assert changed.revision == challenged.revision + 1
    assert client.state().traffic == changed


def test_two_writers_at_once_lose_no_update(challenged: TrafficFile, client: ServeClient, home: Home) -> None:
    """Each reads, changes and writes the whole document."""

    def write(percent: float) -> None:
        deployment.change(client, home, lambda traffic, _: weighted(traffic, {"2": percent}))

    writers = [threading.Thread(target=write, args=(percent,)) for percent in (10, 20, 30)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    after = client.state().traffic
    assert after is not None
    assert after.revision == challenged.revision + 3


def test_the_champion_put_live_again_keeps_its_challengers(
    challenged: TrafficFile, client: ServeClient, home: Home, port: int, served: dict[str, TrafficVersion]
) -> None:
    """As `manta serve` does to change an option: an A/B test goes on."""
    assert challenged.challengers
    put_live(client, home, served["1"], port)
    assert client.state().traffic == challenged.after(challenged)


def test_who_waits_too_long_for_another_writer_is_told(home: Home) -> None:
    with changing(home), pytest.raises(ClusterError, match="somebody else"), changing(home, patience_s=0.2):
        raise AssertionError


def test_a_version_that_is_left_out_goes_after_its_traffic_went(
    challenged: TrafficFile, client: ServeClient, home: Home, port: int
) -> None:
    with _Watch(f"http://{HOST}:{port}/health/ready") as watch:
        deployment.change(client, home, lambda traffic, _: removed(traffic, "2"))
    assert watch.wrong == []
    assert client.state().declared.keys() == {"router", "control", "classifier-1"}


def test_a_check_that_fails_puts_back_what_was_served(
    alone: None, client: ServeClient, home: Home, port: int, served: dict[str, TrafficVersion]
) -> None:
    asked: list[str] = []

    def refuse(url: str) -> None:
        asked.append(httpx.get(f"{url}/model/info", trust_env=False, timeout=30).json()["model_version"])
        with pytest.raises(ClusterError, match="somebody else"), changing(home, patience_s=0.2):
            raise AssertionError
        raise GateFailed("not good enough")

    with pytest.raises(GateFailed, match="not good enough"):
        put_live(client, home, served["2"], port, check=refuse)
    assert asked == ["2"], "the check sees the new version live, and nobody else changes the service meanwhile"
    info = f"http://{HOST}:{port}/model/info"
    wait_for(lambda: httpx.get(info, trust_env=False, timeout=30).json().get("model_version") == "1")
    assert client.state().declared.keys() == {"router", "control", "classifier-1"}


def test_a_running_service_does_not_move_to_another_port(
    alone: None, client: ServeClient, home: Home, port: int, served: dict[str, TrafficVersion]
) -> None:
    with pytest.raises(ClusterError, match=f"already listens on {HOST}:{port}"):
        put_live(client, home, served["1"], free_port())


def test_versions_that_differ_are_refused_before_anything_is_started(
    alone: None, client: ServeClient, home: Home, served: dict[str, TrafficVersion]
) -> None:
    before = client.state()
    with pytest.raises(BadInput, match="other labels"):
        deployment.change(client, home, lambda traffic, _: added(traffic, served["4"], 10))
    assert client.state().declared == before.declared


class _Idle(ServeClient):
    """Serve does not run."""

    def __init__(self) -> None: ...
    def state(self) -> ServeState:
        return ServeState(host=None, port=None, applications={})


def test_a_bundle_that_is_not_there_is_not_found(tmp_path: Path, home: Home) -> None:
    gone = place({}, version="1", bundle_uri=(tmp_path / "gone").as_uri())
    with pytest.raises(NotFound, match="gone"):
        put_live(_Idle(), home, gone, free_port())


def test_a_first_deployment_refuses_a_taken_port(home: Home, served: dict[str, TrafficVersion]) -> None:
    with socket.create_server((HOST, 0)) as server, pytest.raises(PortInUse):
        put_live(_Idle(), home, served["1"], server.getsockname()[1])


def test_a_change_of_nothing_is_refused(home: Home) -> None:
    with pytest.raises(ClusterError, match="nothing is served yet"):
        deployment.change(_Idle(), home, lambda traffic, _: traffic)


def test_a_plan_keeps_what_runs_and_what_is_not_mantas(served: dict[str, TrafficVersion]) -> None:
    """Running applications keep their deployed settings: a changed one would restart them."""
    live = replaced(TrafficFile(revision=3), "colours", served["1"])
    router = {**with_traffic(router_application(), live), "args": {"max_batch": 8}}
    others = [control_application(), classifier_application(served["1"])]
    running = [router, {"name": "somebody-elses", "import_path": "a:b"}, *others]
    plan = deployment.plan_change(state_of(*running), replaced(live, "colours", served["2"]).after(live))
    assert plan.after["somebody-elses"] == running[1]
    assert plan.after["router"] == router
    assert (plan.added, plan.dropped) == (["classifier-2"], ["classifier-1"])
    assert plan.traffic_before == live
    assert plan.traffic_after.revision == live.revision + 1
    assert not plan.router_restarts
    build_document(plan.after.values(), host=HOST, port=8000)


def test_service_options_are_arguments_of_the_router_and_stay(served: dict[str, TrafficVersion]) -> None:
    live = replaced(TrafficFile(revision=3), "colours", served["1"])
    router = {**with_traffic(router_application(), live), "args": {"max_batch": 8, "cache_entries": 5}}
    state = state_of(router)
    plan = deployment.plan_change(state, live, options={"cache_entries": 7, "max_images": 100})
    assert plan.router_restarts
    assert plan.after["router"]["args"] == {"max_batch": 8, "cache_entries": 7, "max_images": 100}
    assert plan.before["router"]["args"] == {"max_batch": 8, "cache_entries": 5}, "what is put back when it fails"
    assert not deployment.plan_change(state, live, options={"cache_entries": 5}).router_restarts
    with pytest.raises(BadInput, match="could never be taken"):
        deployment.plan_change(state, live, options={"max_images": 5000})


def test_a_version_that_runs_gets_the_scale_that_is_asked_for(served: dict[str, TrafficVersion]) -> None:
    """It alone: another version, and what the scale leaves open, stay."""
    live = added(replaced(TrafficFile(revision=3), "colours", served["1"]), served["2"], 10)
    state = state_of(
        control_application(),
        with_traffic(router_application(), live),
        classifier_application(served["1"], Scale(replicas=Replicas(3, 3), threads=2)),
        classifier_application(served["2"]),
    )
    plan = deployment.plan_change(state, live, Scale(replicas=Replicas(2, 2)), version="1")
    assert plan.added == ["classifier-1"]
    assert plan.after["classifier-1"]["deployments"][0]["num_replicas"] == 2
    assert plan.after["classifier-1"]["args"]["threads"] == 2
    assert deployment.plan_change(state, live, Scale(replicas=Replicas(3, 3), threads=2), version="1").added == []
    assert deployment.plan_change(state, live, Scale(threads=4), version="1").after["classifier-1"]["args"] == {
        "version": "1",
        "bundle_uri": served["1"].bundle_uri,
        "variant": "fp32",
        "threads": 4,
    }


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


def test_another_variant_of_the_champion_is_put_live(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    first = place({}, version="1", bundle_uri="/1")
    live, made = replaced(TrafficFile(revision=3), "colours", first), []

    def change(_client: object, _home: Home, make: deployment.Change, **_: Any) -> None:
        made.append(make(live, {first.application: classifier_application(first)}))

    class Client:
        def state(self) -> ServeState:
            return ServeState(host=HOST, port=8000, applications={})

    monkeypatch.setattr(deployment, "change", change)
    put_live(Client(), home, first, 8000)  # type: ignore[arg-type]
    put_live(Client(), home, first, 8000, variant="int8")  # type: ignore[arg-type]
    assert made[0] == live
    assert made[1].champion is not None
    assert (made[1].champion.variant, made[1].champion.application) == ("int8", "classifier-1-int8")


@pytest.mark.parametrize(
    ("host", "url"),
    [
        (None, "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("10.0.0.7", "http://10.0.0.7:8000"),
        ("::", "http://[::1]:8000"),
        ("fd00::7", "http://[fd00::7]:8000"),
    ],
)
def test_where_a_client_asks(host: str | None, url: str) -> None:
    assert deployment.service_url(host, 8000) == url
    assert httpx.URL(url).port == 8000
