"""Each caller gets the answer to its own image, over HTTP, from several versions, whatever fails or is cancelled.

An image is one colour, which names it; a version answers with that colour, turned by the version's number, so every row
of an answer shows which image it belongs to and who looked at it.
"""

from __future__ import annotations

import asyncio
import base64
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from app.errors import ClusterError
from app.imaging import encode_png
from serve_deployments.admin_api import AdminApi
from serve_deployments.classifier_client import ClassifierClient
from serve_deployments.http_api import HttpApi
from serve_deployments.request_body import Bodies
from serve_deployments.router import Service
from serve_deployments.schemas import RouterArgs
from tests.bundles import write_colour_bundle
from tests.serve_deployments.fakes import SIZE, FakeControl, asgi
from tests.waiting import until

LABELS = ("red", "green", "blue", "one")
VERSIONS = ("1", "2", "3")
ENSEMBLE = {"1": 3.0, "2": 1.0}
BROKEN = "?"
"""In place of an image's base64."""


def colour_of(number: int) -> np.ndarray:
    # Neighbours differ much: the cascade's fast version is sure of one and unsure of the next.
    return np.array([number * 37 % 250, number // 250, 77], np.uint8)


def image_of(number: int) -> np.ndarray:
    return np.broadcast_to(colour_of(number), (SIZE, SIZE, 3)).copy()


def text_of(number: int) -> str:
    return base64.b64encode(encode_png(image_of(number))).decode()


def answer_of(version: str, colour: np.ndarray) -> np.ndarray:
    """float32 [4]"""
    return np.roll(np.array([*colour, 1], np.float32) / 256, int(version))


def possible_rows(versions: str, number: int) -> Iterator[np.ndarray]:
    """What these versions (joined by +) may have said of an image, one of them or as an ensemble."""
    members = versions.split("+")
    rows = [answer_of(version, colour_of(number)) for version in members]
    yield from rows
    if len(members) > 1:
        weights = np.array([ENSEMBLE.get(version, 1.0) for version in members], np.float32)
        yield np.average(rows, axis=0, weights=weights)


class Replicas:
    """One version's replicas: batches fail, come back short or are cancelled once `chance` is set."""

    def __init__(self, version: str) -> None:
        self._version = version
        self.chance: random.Random | None = None

    async def predict(self, images: Sequence[np.ndarray], _waiting: float = 0.0) -> list[np.ndarray]:
        rows = [answer_of(self._version, image[0, 0]) for image in images]
        if self.chance is None:
            return rows
        for _ in range(self.chance.randrange(5)):
            await asyncio.sleep(0)
        match self.chance.randrange(12):
            case 0:
                raise ClusterError("the replica is gone")
            case 1:
                raise TimeoutError
            case 2:
                raise asyncio.CancelledError
            case 3:
                return rows[:-1]
        return rows

    def running_replicas(self) -> int:
        return 2


class Callers:
    """Requests of all kinds, each of which checks what it gets."""

    def __init__(self, client: httpx.AsyncClient, chance: random.Random, seen: Counter[str]) -> None:
        self._client = client
        self._chance = chance
        self._seen = seen
        self._next = 0

    def numbers(self, most: int) -> list[int]:
        first, self._next = self._next, self._next + self._chance.randint(1, most)
        return list(range(first, self._next))

    async def ask(self) -> None:
        kinds = (self._one, self._batch, self._pixels, self._encoded)
        for _ in range(self._chance.randrange(8)):
            await asyncio.sleep(0)
        await self._chance.choice(kinds)()

    async def _one(self) -> None:
        (number,) = self.numbers(1)
        body = await self._post("/predict", self._fields(), {"image": text_of(number), "top_k": 4})
        if body is not None:
            self._check(number, body["model_version"], self._row(body["predictions"]))

    async def _batch(self) -> None:
        numbers = self.numbers(9)
        sent = [BROKEN if self._chance.random() < 0.2 else text_of(number) for number in numbers]
        images = [{"image": text} for text in sent]
        body = await self._post("/predict/batch", self._fields(), {"images": images, "top_k": 4})
        if body is None:
            return
        assert len(body["batch_predictions"]) == len(numbers)
        for number, text, entry in zip(numbers, sent, body["batch_predictions"], strict=True):
            assert ("error" in entry) == (text == BROKEN)
            if text == BROKEN:
                self._seen["broken"] += 1
            else:
                self._check(number, entry["model_version"], self._row(entry["predictions"]))

    async def _pixels(self) -> None:
        numbers = self.numbers(9)
        data = np.concatenate([image_of(number).ravel() for number in numbers]).tolist()
        tensor = {"name": "images", "datatype": "UINT8", "shape": [len(numbers), SIZE, SIZE, 3], "data": data}
        await self._infer(numbers, tensor)

    async def _encoded(self) -> None:
        numbers = self.numbers(3)
        data = [text_of(number) for number in numbers]
        await self._infer(numbers, {"name": "encoded", "datatype": "BYTES", "shape": [len(numbers)], "data": data})

    async def _infer(self, numbers: list[int], tensor: dict[str, Any]) -> None:
        body = await self._post("/v2/models/colours/infer", {}, {"inputs": [tensor], "parameters": self._fields()})
        if body is None:
            return
        (output,) = body["outputs"]
        assert output["shape"] == [len(numbers), 4]
        for number, row in zip(numbers, np.array(output["data"]).reshape(-1, 4), strict=True):
            self._check(number, body["model_version"], row)

    async def _post(self, path: str, fields: dict[str, str], body: dict[str, Any]) -> dict[str, Any] | None:
        headers = {"x-model-version": self._chance.choice(VERSIONS)} if self._chance.random() < 0.1 else {}
        reply = await self._client.post(path, json={**body, **fields}, headers=headers)
        self._seen[str(reply.status_code)] += 1
        assert reply.status_code in (200, 503, 504), reply.text
        return orjson.loads(reply.content) if reply.status_code == 200 else None

    def _fields(self) -> dict[str, str]:
        quality = self._chance.choice(["fast", "accurate", "ensemble", None, None, None, *["auto"] * 4])
        return {"quality": quality} if quality else {"user_id": str(self._chance.random())}

    def _row(self, predictions: list[dict[str, Any]]) -> np.ndarray:
        confidence = {each["class_id"]: each["confidence"] for each in predictions}
        return np.array([confidence[place] for place in range(4)])

    def _check(self, number: int, versions: str, row: np.ndarray) -> None:
        self._seen["by " + "+".join(sorted(versions.split("+")))] += 1
        assert any(np.abs(row - one).max() < 1e-4 for one in possible_rows(versions, number)), (number, versions, row)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    for version in VERSIONS:
        write_colour_bundle(folder / version, labels=LABELS, self_test=False)
    return folder


def traffic(bundles: Path) -> dict[str, Any]:
    versions = [
        {
            "version": version,
            "application": f"classifier-{version}",
            "bundle_uri": str(bundles / version),
            "aliases": ["champion"] if version == "1" else [],
            "weight": weight,
        }
        for version, weight in zip(VERSIONS, (40, 30, 30), strict=True)
    ]
    auto = {"fast": "2", "accurate": "3", "threshold": 0.5}
    quality = {"fast": "2", "accurate": "3", "ensemble": ENSEMBLE, "auto": auto}
    shadow = {"version": "3", "share": 0.5}
    return {"revision": 1, "model": "colours", "versions": versions, "quality": quality, "shadow": shadow}


async def scenario(bundles: Path, chance: random.Random, args: RouterArgs, callers: int, seen: Counter[str]) -> None:
    replicas = {f"classifier-{version}": Replicas(version) for version in VERSIONS}

    async def connect(application: str, *, retries: int) -> Replicas:
        return replicas[application]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClassifierClient, "connect", connect)
        service = Service(args)
        await service.fleet.apply(traffic(bundles))
    assert service.fleet.problem is None
    for each in replicas.values():
        each.chance = chance
    control, bodies = FakeControl(), Bodies(max_bytes=1 << 20, max_bytes_in_all=1 << 24)
    api = HttpApi(service, bodies, admin=AdminApi(control, bodies, token=""), control=control, max_images=16)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(asgi(api)), base_url="http://manta") as client:
        asking = Callers(client, chance, seen)
        tasks = [asyncio.create_task(asking.ask()) for _ in range(callers)]
        for task in tasks:
            await asyncio.sleep(0)
            if chance.random() < 0.25:
                task.cancel()
        done, pending = await asyncio.wait(tasks, timeout=10)
    assert not pending
    seen["cancelled"] += sum(task.cancelled() for task in done)
    assert [task.exception() for task in done if not task.cancelled() and task.exception()] == []
    batchers = [version.batcher for version in service.fleet.versions]  # shadows may still be waiting
    await until(lambda: not any(each.batches_in_flight or each.queued or each.in_flight for each in batchers))
    assert bodies._held == 0
    rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)


def test_each_caller_gets_the_answer_to_its_own_image(bundles: Path) -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=80, deadline=None, derandomize=True, database=None, phases=[Phase.generate])
    @given(
        seed=st.integers(0, 2**32),
        max_batch=st.integers(1, 12),
        places=st.integers(1, 3),
        inline_pixels=st.sampled_from([0, SIZE * SIZE, 100_000]),
        callers=st.integers(1, 40),
    )
    def holds(seed: int, max_batch: int, places: int, inline_pixels: int, callers: int) -> None:
        args = RouterArgs(
            max_batch=max_batch,
            places_per_replica=places,
            inline_pixels=inline_pixels,
            max_images=16,
            max_queued_images=64,
            breaker_pause_s=0.001,
            call_timeout_s=5.0,
        )
        asyncio.run(scenario(bundles, random.Random(seed), args, callers, seen))

    holds()
    everything = {"200", "503", "504", "cancelled", "broken", "by 1", "by 2", "by 3", "by 1+2", "by 2+3"}
    assert everything <= seen.keys(), seen
