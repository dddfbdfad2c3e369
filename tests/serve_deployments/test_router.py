"""The router without Serve: bad traffic files change nothing, and a version waits until it is warm."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import BadImage, BadInput, ClusterError, NotFound
from app.inference import OnnxClassifier
from serve_deployments import fleet as fleet_module
from serve_deployments.classifier_client import ClassifierClient
from serve_deployments.http_api import Classified
from serve_deployments.router import Service
from serve_deployments.schemas import RouterArgs
from serve_deployments.traffic import Caller
from tests.bundles import write_colour_bundle
from tests.serve_deployments.fakes import colour_png, until

ANYBODY = Caller("request")


class FakeClient:
    """One application's replicas, in this process."""

    def __init__(self, folder: Path) -> None:
        self.model = OnnxClassifier(folder / "model.onnx")
        self.replicas = 1
        self.calls: list[int] = []
        self.failure: Exception | None = None

    async def predict(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        self.calls.append(len(images))
        if self.failure is not None:
            raise self.failure
        return list(self.model.predict(np.stack(images)))

    def running_replicas(self) -> int:
        return self.replicas


class Applications:
    """What is deployed, by application name."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clients: dict[str, FakeClient] = {}

    def deploy(self, version: str, **bundle: Any) -> FakeClient:
        folder = self.root / version
        if not folder.exists():
            write_colour_bundle(folder, **bundle)
        self.clients[f"classifier-{version}"] = FakeClient(folder)
        return self.clients[f"classifier-{version}"]

    def traffic(self, revision: int, **weights: float) -> dict[str, Any]:
        """The first version is the champion."""
        return {
            "revision": revision,
            "model": "colours",
            "versions": [
                {
                    "version": version,
                    "application": f"classifier-{version}",
                    "bundle_uri": str(self.root / version),
                    "aliases": ["champion"] if place == 0 else [],
                    "weight": weight,
                }
                for place, (version, weight) in enumerate(weights.items())
            ],
        }


@pytest.fixture
def applications(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Applications:
    deployed = Applications(tmp_path)

    async def connect(application: str, *, retries: int) -> FakeClient:
        if application not in deployed.clients:
            raise ClusterError(f"application {application} is not deployed")
        return deployed.clients[application]

    monkeypatch.setattr(ClassifierClient, "connect", connect)
    monkeypatch.setattr(fleet_module, "SWITCH_WAIT_S", 0.2)
    monkeypatch.setattr(fleet_module, "RETRY_S", 0.01)
    monkeypatch.setattr(fleet_module, "COUNT_INTERVAL_S", 0.01)
    return deployed


@pytest.fixture
async def service(applications: Applications) -> AsyncIterator[Service]:
    service = Service(RouterArgs(call_timeout_s=2.0))
    yield service
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def answered_by(service: Service, channel: int = 1) -> str:
    answer = await service.classify([colour_png(channel)], ANYBODY)
    (row,) = answer.rows
    assert isinstance(row, Classified)
    assert answer.labels[int(row.probabilities.argmax())] == ("red", "green", "blue")[channel]
    return answer.version


async def test_without_traffic_it_answers_that_nothing_is_deployed(service: Service) -> None:
    await service.fleet.apply({"revision": 0, "model": "colours", "versions": []})
    with pytest.raises(ClusterError, match="no model"):
        await service.classify([colour_png(0)], ANYBODY)
    with pytest.raises(ClusterError, match="no model"):
        service.model_info()
    assert service.readiness().reason == "no model is deployed yet"


async def test_a_version_is_warm_before_it_answers(service: Service, applications: Applications) -> None:
    client = applications.deploy("1")
    await service.fleet.apply(applications.traffic(1, **{"1": 1}))
    assert client.calls == [1]
    assert service.readiness().reason is None
    assert await answered_by(service) == "1"
    assert service.model_info()["versions"][0]["running_replicas"] == 1


async def test_bad_images_keep_their_place(service: Service, applications: Applications) -> None:
    applications.deploy("1")
    await service.fleet.apply(applications.traffic(1, **{"1": 1}))
    answer = await service.classify([b"no", colour_png(2), b"", colour_png(0, 30, 40)], ANYBODY)
    kinds = [type(row) for row in answer.rows]
    assert kinds == [BadImage, Classified, BadImage, Classified]
    rows = [row for row in answer.rows if isinstance(row, Classified)]
    assert [int(row.probabilities.argmax()) for row in rows] == [2, 0]
    assert rows[1].image_shape == (30, 40, 3)


@pytest.mark.parametrize("bad", [{}, {"revision": "x"}, {"versions": 3}, {"versions": [{"version": "9"}]}])
async def test_a_bad_file_changes_nothing(service: Service, applications: Applications, bad: dict[str, Any]) -> None:
    applications.deploy("1")
    await service.fleet.apply(applications.traffic(1, **{"1": 1}))
    await service.fleet.apply({"revision": 2, **bad} if bad else {"unknown": 1})
    assert service.fleet.traffic.revision == 1
    assert await answered_by(service) == "1"
    readiness = service.readiness()
    assert readiness.reason is None  # it still answers, and says what is wrong
    assert "not valid" in str(readiness.details["problem"])


async def test_a_bad_first_file_is_the_reason_not_to_be_ready(service: Service) -> None:
    await service.fleet.apply({"versions": 3})
    assert "not valid" in str(service.readiness().reason)


async def test_a_version_that_is_not_there_gets_no_traffic(service: Service, applications: Applications) -> None:
    """The former file stays until every version with a weight answers; then the new one takes effect by itself."""
    applications.deploy("1")
    await service.fleet.apply(applications.traffic(1, **{"1": 1}))
    write_colour_bundle(applications.root / "2")
    await service.fleet.apply(applications.traffic(2, **{"2": 1, "1": 0}))
    assert await answered_by(service) == "1"
    assert "classifier-2 is not deployed" in str(service.readiness().details["problem"])
    applications.deploy("2")
    await until(lambda: service.fleet.traffic.revision == 2)
    assert await answered_by(service) == "2"
    assert service.readiness().details["problem"] is None


async def test_a_missing_or_damaged_bundle_is_named(service: Service, applications: Applications) -> None:
    applications.deploy("1")
    (applications.root / "1" / "manifest.json").unlink()
    await service.fleet.apply(applications.traffic(1, **{"1": 1}))
    assert "manifest.json is missing" in str(service.readiness().reason)


async def test_a_replica_with_other_labels_is_refused(service: Service, applications: Applications) -> None:
    applications.deploy("1")
    other = applications.deploy("2", labels=("red", "green", "blue", "black"))
    applications.clients["classifier-1"] = other
    await service.fleet.apply(applications.traffic(1, **{"1": 1}))
    assert "4 probabilities for 3 labels" in str(service.readiness().reason)


async def test_a_newer_file_replaces_one_that_waits(service: Service, applications: Applications) -> None:
    applications.deploy("1")
    write_colour_bundle(applications.root / "2")
    await service.fleet.apply(applications.traffic(1, **{"2": 1}))
    waiting = service.fleet._switch
    await service.fleet.apply(applications.traffic(2, **{"1": 1}))
    assert waiting is not None
    assert waiting.cancelled()
    assert await answered_by(service) == "1"


async def test_an_unneeded_version_does_not_hold_up_the_others(service: Service, applications: Applications) -> None:
    applications.deploy("1")
    await service.fleet.apply(applications.traffic(1, **{"1": 1, "gone": 0}))
    assert await answered_by(service) == "1"
    assert [version["version"] for version in service.model_info()["versions"]] == ["1"]


async def test_weights_change_without_reopening(service: Service, applications: Applications) -> None:
    first, second = applications.deploy("1"), applications.deploy("2")
    await service.fleet.apply(applications.traffic(1, **{"1": 1, "2": 0}))
    before = service.fleet["1"]
    await service.fleet.apply(applications.traffic(2, **{"1": 0, "2": 1}))
    assert service.fleet["1"] is before
    assert await answered_by(service) == "2"
    assert (first.calls, second.calls) == ([1], [1, 1])
    assert [version["weight"] for version in service.model_info()["versions"]] == [0, 1]


async def test_without_replicas_requests_wait_and_the_service_is_not_ready(
    service: Service, applications: Applications
) -> None:
    client = applications.deploy("1")
    await service.fleet.apply(applications.traffic(1, **{"1": 1}))
    client.replicas = 0
    service.fleet["1"].count_places()
    assert "no replica of version 1" in str(service.readiness().reason)
    waiting = asyncio.create_task(answered_by(service))
    await until(lambda: service.fleet["1"].batcher.queued == 1)
    client.replicas = 2  # the router finds out by itself
    assert await waiting == "1"


async def test_failures_of_the_model_reach_only_their_callers(service: Service, applications: Applications) -> None:
    client = applications.deploy("1")
    await service.fleet.apply(applications.traffic(1, **{"1": 1}))
    client.failure = ClusterError("classifier-1: every replica that was tried was lost")
    with pytest.raises(ClusterError, match="lost"):
        await service.classify([colour_png(0)], ANYBODY)
    client.failure = None
    assert await answered_by(service) == "1"


def pure(*channels: int) -> np.ndarray:
    pixels = np.zeros((len(channels), 8, 8, 3), np.uint8)
    for index, channel in enumerate(channels):
        pixels[index, ..., channel] = 255
    return pixels


async def test_pixels_go_straight_to_the_batcher(service: Service, applications: Applications) -> None:
    client = applications.deploy("1")
    await service.fleet.apply(applications.traffic(1, **{"1": 1}))
    answer = await service.classify_pixels(pure(2, 0, 1), ANYBODY)
    assert client.calls == [1, 3]
    rows = [row for row in answer.rows if isinstance(row, Classified)]
    assert [int(row.probabilities.argmax()) for row in rows] == [2, 0, 1]
    assert rows[0].image_shape == (8, 8, 3)
    with pytest.raises(BadInput, match=r"version 1 takes images of shape \[8, 8, 3\]"):
        await service.classify_pixels(np.zeros((1, 9, 8, 3), np.uint8), ANYBODY)


async def test_a_version_asked_for_by_name_answers_whatever_its_weight(
    service: Service, applications: Applications
) -> None:
    applications.deploy("1")
    applications.deploy("2")
    await service.fleet.apply(applications.traffic(1, **{"1": 1, "2": 0}))
    by_name = Caller("request", version="2")
    assert (await service.classify([colour_png(0)], by_name)).version == "2"
    assert (await service.classify_pixels(pure(0), by_name)).version == "2"
    for version in ("3", "", "classifier-1"):
        with pytest.raises(NotFound, match="not deployed"):
            await service.classify_pixels(pure(0), Caller("request", version=version))


async def test_the_view_of_what_is_deployed(service: Service, applications: Applications) -> None:
    assert service.deployment().versions == ()
    applications.deploy("1")
    client = applications.deploy("2")
    await service.fleet.apply(applications.traffic(1, **{"1": 1, "2": 0}))
    await service.classify_pixels(pure(0, 1), Caller("request", version="2"))
    view = service.deployment()
    assert (view.model, view.champion) == ("colours", "1")
    assert [version.version for version in view.versions] == ["1", "2"]
    assert [version.statistics.items for version in view.versions] == [0, 2]  # a warm-up is not counted
    assert view.find("colours").version == "1"
    assert view.find("colours", "2").problem is None
    client.replicas = 0
    assert service.deployment().find("colours", "2").problem == "no replica of version 2 runs"
