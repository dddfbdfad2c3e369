"""Router and classifier follow the load, on a real cluster: up while it lasts, down after, and no request is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from app.http_connection import Address
from app.load_generator import Load, Seen, send_load
from app.replicas import Replicas
from app.traffic_changes import replaced
from app.traffic_file import TrafficFile
from cluster.local import LocalCluster
from cluster.ports import free_port
from cluster.serve_client import ServeClient, wait_until_answering
from cluster.serve_document import (
    ROUTER,
    Scale,
    build_document,
    classifier_application,
    control_application,
    place,
    router_application,
    scaled,
    with_traffic,
)
from tests.bundles import write_colour_bundle
from tests.serve_deployments.fakes import colour_png

SOON = {"metrics_interval_s": 1, "look_back_period_s": 3, "upscale_delay_s": 1, "downscale_delay_s": 3}
LIMIT_S = 90
CALL_S = 0.05
"""What a call to the classifier takes, on whatever machine."""


def impatient(application: dict[str, Any], target: float) -> dict[str, Any]:
    """Follows the load as it would anyway, and sooner."""
    (deployment,) = application["deployments"]
    deployment["autoscaling_config"] |= {**SOON, "target_ongoing_requests": target}
    return application


def replicas(client: ServeClient) -> list[int]:
    """Of the router and of the classifier, those that run."""
    applications = client.state().applications
    return [len(applications[name].running_pids) for name in (ROUTER, "classifier-1")]


@pytest.fixture(scope="module")
def client(cluster: LocalCluster) -> Iterator[ServeClient]:
    client = ServeClient(cluster.dashboard_url)
    yield client
    client.shutdown()
    client.close()


@pytest.fixture(scope="module")
def url(client: ServeClient, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("bundles") / "1"
    write_colour_bundle(folder)
    version = place({}, version="1", bundle_uri=folder.as_uri())
    traffic = replaced(TrafficFile(), "colours", version)
    classifier = impatient(classifier_application(version, Scale(replicas=Replicas(1, 2))), target=0.7)
    classifier["args"]["batch_wait_s"] = CALL_S
    router = impatient(scaled(with_traffic(router_application(), traffic), Replicas(1, 2)), target=0.1)
    port = free_port()
    client.put(build_document([control_application(), router, classifier], host="127.0.0.1", port=port))
    client.wait_until_running([ROUTER, version.application])
    url = f"http://127.0.0.1:{port}"
    wait_until_answering(url)
    return url


@pytest.mark.minutes
async def test_replicas_follow_the_load(client: ServeClient, url: str) -> None:
    address = Address.of(url)
    requests = [address.post("/predict", "image/png", colour_png(channel)) for channel in range(3)]

    numbers = replicas(client)
    assert numbers == [1, 1]

    async def scaled_to(wanted: int) -> None:
        nonlocal numbers
        while numbers != [wanted, wanted]:
            await asyncio.sleep(0.2)
            numbers = await asyncio.to_thread(replicas, client)

    async def up(_seen: Seen) -> None:
        await scaled_to(2)

    async def down(_seen: Seen) -> None:
        await scaled_to(1)

    heavy = await send_load(address, Load(requests=requests, clients=32, seconds=LIMIT_S), beside=up)
    assert numbers == [2, 2], "under load both were to have two replicas"
    light = await send_load(address, Load(requests=requests, clients=1, seconds=LIMIT_S, pause_s=0.1), beside=down)
    assert numbers == [1, 1], "without it both were to have one again"
    assert heavy.answered > 100
    assert (heavy.errors, light.errors) == ({}, {})
