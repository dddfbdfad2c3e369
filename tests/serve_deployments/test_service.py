"""The real thing: HAProxy, a router and classifier replicas of colour models on a real cluster.

Version 1 answers at once and has two replicas. Version 2 waits before it answers, so that a test can
do something while a batch is in flight.
"""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import subprocess
import sys
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from ray import serve

from app.traffic_file import TrafficFile, TrafficVersion
from cluster.local import LocalCluster
from cluster.ports import free_port
from cluster.serve_client import ServeClient, wait_until_answering
from cluster.serve_document import (
    CONTROL,
    ROUTER,
    build_document,
    classifier_application,
    control_application,
    place,
    router_application,
    with_traffic,
)
from tests.bundles import write_colour_bundle
from tests.serve_deployments.fakes import colour_png
from tests.serve_deployments.openapi_document import check
from tests.waiting import eventually

SLOW_S = 0.6
MAX_BODY_BYTES = 400_000
RED, GREEN, BLUE = (colour_png(channel) for channel in range(3))


class Service:
    """What is deployed, and how to change who answers."""

    def __init__(self, client: ServeClient, folder: Path) -> None:
        self._client = client
        self._bundles = {version: (folder / version).as_uri() for version in "12"}
        self._port = free_port()
        self._revision = 0
        self.url = f"http://127.0.0.1:{self._port}"

    def put_traffic(self, champion: str | None, **weights: float) -> None:
        """Returns when the router has it."""
        self.put_user_config(self._traffic(champion, weights).model_dump(mode="json"))

    def put_user_config(self, user_config: dict[str, Any]) -> None:
        self._put(user_config)
        self._client.wait_until_running([ROUTER])

    def start(self) -> None:
        self._put(self._traffic("1", {"1": 1}).model_dump(mode="json"))
        self._client.wait_until_running([ROUTER, CONTROL, "classifier-1", "classifier-2"])
        wait_until_answering(self.url)

    def replica_pids(self, application: str) -> list[int]:
        details = self._client._dashboard.get("/api/serve/applications/")["applications"][application]
        replicas = [replica for each in details["deployments"].values() for replica in each["replicas"]]
        return [replica["pid"] for replica in replicas if replica["state"] == "RUNNING"]

    def _traffic(self, champion: str | None, weights: dict[str, float]) -> TrafficFile:
        self._revision += 1
        versions = [
            self._placed(version).model_copy(
                update={"weight": weight, "aliases": ("champion",) if version == champion else ()}
            )
            for version, weight in weights.items()
        ]
        return TrafficFile(model="colours", versions=tuple(versions), revision=self._revision)

    def _placed(self, version: str) -> TrafficVersion:
        return place({}, version=version, bundle_uri=self._bundles[version])

    def _put(self, user_config: dict[str, Any]) -> None:
        applications = [
            control_application(),
            self._router(user_config),
            self._classifier("1", 2, {}),
            self._slow_classifier(),
        ]
        self._client.put(build_document(applications, host="127.0.0.1", port=self._port))

    def _router(self, user_config: dict[str, Any]) -> dict[str, Any]:
        router = with_traffic(router_application(), TrafficFile())
        # One call to a replica at a time: so a test can say what makes up a batch.
        router["args"] = {"max_body_bytes": MAX_BODY_BYTES, "call_timeout_s": 20.0, "places_per_replica": 1}
        router["deployments"][0]["user_config"] = user_config
        return router

    def _classifier(self, version: str, replicas: int, args: dict[str, Any]) -> dict[str, Any]:
        application = classifier_application(self._placed(version))
        application["args"].update(args)
        application["deployments"][0]["num_replicas"] = replicas
        return application

    def _slow_classifier(self) -> dict[str, Any]:
        return self._classifier("2", 1, {"batch_wait_s": SLOW_S})


@pytest.fixture(scope="module")
def service(cluster: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("bundles")
    for version in "12":
        write_colour_bundle(folder / version)
    client = ServeClient(cluster.dashboard_url)
    service = Service(client, folder)
    service.start()
    yield service
    client.shutdown()
    client.close()


@pytest.fixture
async def http(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=100, max_keepalive_connections=100)
    async with httpx.AsyncClient(base_url=service.url, timeout=30, limits=limits, trust_env=False) as client:
        yield client


@pytest.fixture
def version_1(service: Service) -> None:
    service.put_traffic("1", **{"1": 1})


@pytest.fixture
def version_2(service: Service) -> None:
    service.put_traffic("2", **{"2": 1})


async def predict(http: httpx.AsyncClient, image: bytes = GREEN) -> httpx.Response:
    return await http.post("/predict", content=image, headers={"content-type": "image/png"})


async def load_of(http: httpx.AsyncClient, version: str) -> dict[str, Any]:
    (found,) = [each for each in (await http.get("/model/info")).json()["versions"] if each["version"] == version]
    return dict(found)


class Load:
    """Clients that ask all the time while the block runs, and what they were told."""

    def __init__(self, http: httpx.AsyncClient, clients: int = 12) -> None:
        self._http = http
        self._clients = clients
        self._running = True
        self.versions: Counter[str] = Counter()
        self._newest: deque[str] = deque(maxlen=24)
        self.failures: list[str] = []

    async def __aenter__(self) -> Load:
        self._tasks = [asyncio.create_task(self._ask(number % 3)) for number in range(self._clients)]
        await self.more(20)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running = False
        await asyncio.gather(*self._tasks)

    async def more(self, answers: int) -> None:
        """Returns after that many more answers."""
        wanted = self.versions.total() + answers
        await self._until(lambda: self.versions.total() >= wanted)

    async def answered_by(self, *versions: str) -> None:
        """Returns when these, and no others, gave the newest 24 answers."""
        await self._until(lambda: set(self._newest) == set(versions))

    async def _until(self, condition: Callable[[], bool]) -> None:
        async def holds() -> bool:
            return condition() or bool(self.failures)

        await eventually(holds)

    async def _ask(self, channel: int) -> None:
        while self._running and not self.failures:
            try:
                reply = await predict(self._http, (RED, GREEN, BLUE)[channel])
                body = reply.json()
                if reply.status_code != 200 or body["predictions"][0]["class_id"] != channel:
                    self.failures.append(f"{channel}: {reply.status_code} {reply.text}")
                    return
                self.versions[body["model_version"]] += 1
                self._newest.append(body["model_version"])
            except httpx.HTTPError as error:
                self.failures.append(repr(error))


async def test_all_forms_of_a_request(version_1: None, http: httpx.AsyncClient) -> None:
    text = base64.b64encode(BLUE).decode()
    replies = [
        await http.post("/predict", json={"image": text, "top_k": 1}),
        await http.post("/predict?top_k=1", content=BLUE, headers={"content-type": "image/png"}),
        await http.post("/predict", files={"file": ("blue.png", BLUE)}, data={"top_k": "1"}),
    ]
    for reply in replies:
        check(reply, "/predict", "post")
        assert [each["class_name"] for each in reply.json()["predictions"]] == ["blue"]
    images = [{"image": text}, {"image": "?"}, {"image": base64.b64encode(RED).decode()}]
    batch = await http.post("/predict/batch", json={"images": images, "top_k": 1})
    check(batch, "/predict/batch", "post")
    assert ["error" in entry for entry in batch.json()["batch_predictions"]] == [False, True, False]


async def test_what_the_service_says_of_itself(version_1: None, http: httpx.AsyncClient) -> None:
    for path in ("/health", "/health/live", "/health/ready", "/model/info", "/openapi.json"):
        reply = await http.get(path)
        assert reply.status_code == 200
        check(reply, path, "get")
    assert (await http.get("/docs")).status_code == 200
    info = (await http.get("/model/info")).json()
    assert info["class_names"] == ["red", "green", "blue"]
    assert info["versions"][0]["running_replicas"] == 2


async def test_one_request_id_in_head_and_body(version_1: None, http: httpx.AsyncClient) -> None:
    for sent in ({}, {"x-request-id": "mine-1"}):
        reply = await http.post("/predict", json={}, headers=sent)
        assert reply.headers.get_list("x-request-id") == [reply.json()["request_id"]]
    assert reply.json()["request_id"] == "mine-1"


async def test_bad_requests_through_the_proxy(version_1: None, http: httpx.AsyncClient) -> None:
    assert (await predict(http, b"no image")).status_code == 400
    assert (await predict(http, b"x" * (MAX_BODY_BYTES + 1))).status_code == 413
    assert (await http.get("/nope")).status_code == 404
    assert (await http.get("/predict")).headers["allow"] == "POST"
    assert (await predict(http)).status_code == 200


async def test_a_client_that_leaves_harms_nobody(version_2: None, http: httpx.AsyncClient) -> None:
    async def in_flight(images: int) -> bool:
        load = await load_of(http, "2")
        return bool(load["images_in_flight"] == images)

    await asyncio.gather(*(http.get("/health") for _ in range(8)))  # connections are open: what follows is fast
    first = asyncio.create_task(predict(http))
    await eventually(lambda: in_flight(1))
    mates = [asyncio.create_task(predict(http, (RED, GREEN, BLUE)[number % 3])) for number in range(6)]
    await eventually(lambda: in_flight(6))  # they waited for the first one, and are one batch now
    mates[0].cancel()
    replies = await asyncio.gather(first, *mates[1:])
    assert [reply.status_code for reply in replies] == [200] * 6
    assert [reply.json()["predictions"][0]["class_id"] for reply in replies[1:]] == [1, 2, 0, 1, 2]


async def test_one_router_keeps_two_replicas_busy(
    version_1: None, http: httpx.AsyncClient, ray_driver: LocalCluster
) -> None:
    handle = serve.get_app_handle("classifier-1")

    def counts() -> dict[str, int]:
        return dict(handle.broadcast("images_answered").results(timeout_s=20))

    before = await asyncio.to_thread(counts)
    async with Load(http, clients=24) as load:
        await load.more(600)
    after = await asyncio.to_thread(counts)
    assert load.failures == []
    done = {replica: after[replica] - before[replica] for replica in after}
    assert len(done) == 2
    assert min(done.values()) > 0.3 * sum(done.values())


async def test_changing_the_traffic_drops_nothing(version_1: None, service: Service, http: httpx.AsyncClient) -> None:
    async with Load(http) as load:
        await load.answered_by("1")
        await asyncio.to_thread(service.put_traffic, "1", **{"1": 0.5, "2": 0.5})
        await load.answered_by("1", "2")
        await asyncio.to_thread(service.put_traffic, "2", **{"2": 1})
        await load.answered_by("2")
        await asyncio.to_thread(service.put_traffic, "1", **{"1": 1})
        await load.answered_by("1")
    assert load.failures == []


async def test_a_bad_traffic_file_changes_nothing(version_1: None, service: Service, http: httpx.AsyncClient) -> None:
    pids = service.replica_pids(ROUTER)
    async with Load(http) as load:
        await asyncio.to_thread(service.put_user_config, {"versions": "all of them"})
        await load.more(20)
    assert load.failures == []
    assert "not valid" in (await http.get("/health/ready")).json()["problem"]
    assert service.replica_pids(ROUTER) == pids


async def test_without_a_model_the_service_says_so(service: Service, http: httpx.AsyncClient) -> None:
    service.put_traffic(None)
    reply = await predict(http)
    assert reply.status_code == 503
    check(reply, "/predict", "post")
    assert "no model is deployed" in reply.json()["error"]
    assert int(reply.headers["retry-after"]) >= 1
    assert (await http.get("/health")).status_code == 200
    not_ready = await http.get("/health/ready")
    assert not_ready.status_code == 503
    check(not_ready, "/health/ready", "get")


async def test_a_killed_replica_fails_no_request(version_1: None, service: Service, http: httpx.AsyncClient) -> None:
    async def both_run() -> bool:
        return bool((await load_of(http, "1"))["running_replicas"] == 2)

    async with Load(http) as load:
        os.kill(service.replica_pids("classifier-1")[0], signal.SIGKILL)
        await load.more(200)
        await eventually(both_run)  # Serve has replaced it, and the router has noticed
    assert load.failures == []


def test_serving_imports_neither_torch_nor_mlflow() -> None:
    """Their import takes seconds and hundreds of megabytes in every replica."""
    code = "import sys, serve_deployments.build; print(sorted({'torch', 'mlflow', 'sklearn'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
