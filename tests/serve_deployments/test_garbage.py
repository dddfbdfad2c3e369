"""A request's memory is free as soon as it is answered: the router collects garbage rarely, and a body may be large."""

from __future__ import annotations

import asyncio
import base64
import gc
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence

import numpy as np
import orjson
import pytest
from ray.exceptions import ActorUnavailableError
from starlette.requests import Request

from app.errors import ClusterError, MantaError, Overloaded
from serve_deployments.batcher import Batcher, BatchLimits
from serve_deployments.classifier_client import ClassifierClient
from serve_deployments.http_api import Answer, HttpApi
from tests.serve_deployments.fake_handle import FakeHandle, client_of
from tests.serve_deployments.fakes import ColourPredictor, colour_png, http_api

RED = colour_png(0)
LARGE = colour_png(0, 120, 120)
"""Decoded in a thread."""
Send = Callable[[list[np.ndarray]], Awaitable[Sequence[np.ndarray]]]


@pytest.fixture(autouse=True)
def without_collections() -> Iterator[None]:
    gc.disable()
    gc.freeze()  # collections below look at what is new: all objects of all tests take a second
    logging.disable()  # pytest keeps what was logged, and so the errors in it
    yield
    logging.disable(logging.NOTSET)
    gc.unfreeze()
    gc.enable()


def as_json(*images: bytes) -> bytes:
    entries = [{"image": base64.b64encode(image).decode()} for image in images]
    return orjson.dumps(entries[0] if len(entries) == 1 else {"images": entries})


def as_tensor(*images: bytes) -> bytes:
    data = [base64.b64encode(image).decode() for image in images]
    return orjson.dumps({"inputs": [{"name": "encoded", "datatype": "BYTES", "shape": [len(data)], "data": data}]})


def as_form(image: bytes) -> bytes:
    return b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n' + image + b"\r\n--b--\r\n"


async def status_of(api: HttpApi, body: bytes, kind: str, path: str = "/predict") -> int:
    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    headers = [(b"content-type", kind.encode())]
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers, "query_string": b""}
    return (await api.handle(Request(scope, receive))).status_code


async def garbage_of(what: Callable[[], Awaitable[object]]) -> int:
    """Objects that only a collection frees after it was done a second time: the first time fills caches."""
    for _ in range(2):
        gc.collect()
        await what()
        await asyncio.sleep(0.01)  # generators that were left early are closed by the loop
    return gc.collect()


INFER = "/v2/models/colours/infer"


@pytest.mark.parametrize(
    ("path", "kind", "body", "status"),
    [
        ("/predict", "image/png", RED, 200),
        ("/predict", "image/png", RED[:-20], 400),
        ("/predict", "image/png", RED[:20], 400),
        ("/predict", "image/png", b"not an image", 400),
        ("/predict", "image/png", LARGE, 200),
        ("/predict", "image/png", LARGE[:-20] + bytes(60_000), 400),
        ("/predict", "multipart/form-data; boundary=b", as_form(RED), 200),
        ("/predict", "multipart/form-data; boundary=b", as_form(RED[:-20]), 400),
        ("/predict", "multipart/form-data; boundary=b", b"--c", 400),
        ("/predict", "application/json", as_json(RED), 200),
        ("/predict", "application/json", as_json(RED[:-20]), 400),
        ("/predict", "application/json", b"{", 400),
        ("/predict", "application/json", b'{"image": "?"}', 400),
        ("/predict", "text/plain", b"x", 415),
        ("/predict", "image/png", b"x" * 100_000, 413),
        ("/predict/batch", "application/json", as_json(RED, RED[:-20], LARGE), 200),
        ("/predict/batch", "application/json", b'{"images": [{"image": "?"}, {"image": "aGVsbG8="}]}', 200),
        ("/predict/batch", "application/json", b'{"images": []}', 400),
        (INFER, "application/json", as_tensor(RED, LARGE), 200),
        (INFER, "application/json", as_tensor(RED, RED[:-20]), 400),
        (INFER, "application/json", b'{"inputs": []}', 400),
        (INFER, "application/json", b"[", 400),
        ("/nowhere", "application/json", b"[", 404),
    ],
)
async def test_an_answered_request_is_gone(path: str, kind: str, body: bytes, status: int) -> None:
    api = http_api(ColourPredictor())
    assert await status_of(api, body, kind, path) == status
    assert await garbage_of(lambda: status_of(api, body, kind, path)) == 0


class Failing(ColourPredictor):
    """Raises a new error each time."""

    def __init__(self, kind: type[Exception]) -> None:
        super().__init__()
        self._kind = kind

    async def classify(self, images: Sequence[bytes], caller: object) -> Answer:  # noqa: ARG002
        raise self._kind("no answer")


@pytest.mark.parametrize(
    ("kind", "status"), [(ClusterError, 503), (Overloaded, 503), (TimeoutError, 504), (MantaError, 500)]
)
async def test_a_failed_one_too(kind: type[Exception], status: int) -> None:
    api = http_api(Failing(kind))
    assert await status_of(api, RED, "image/png") == status
    assert await garbage_of(lambda: status_of(api, RED, "image/png")) == 0


async def test_one_whose_client_left_too() -> None:
    api = http_api(ColourPredictor())

    async def leave() -> None:
        async def receive() -> dict[str, object]:
            await asyncio.Event().wait()
            raise AssertionError("unreachable")

        scope = {"type": "http", "method": "POST", "path": "/predict", "headers": [(b"content-type", b"image/png")]}
        task = asyncio.create_task(api.handle(Request(scope, receive)))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    assert await garbage_of(leave) == 0


async def _failing(_items: list[np.ndarray]) -> list[np.ndarray]:
    raise ClusterError("every replica was lost")


async def _never(_items: list[np.ndarray]) -> list[np.ndarray]:
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


@pytest.mark.parametrize(
    ("send", "places", "error"), [(_failing, 1, ClusterError), (_never, 1, TimeoutError), (_never, 0, TimeoutError)]
)
@pytest.mark.parametrize("images", [1, 5])
async def test_a_batch_that_failed_is_gone(send: Send, places: int, error: type[Exception], images: int) -> None:
    """The second: no answer in time. The third: not even a place. Five images do not fit into one batch."""
    batcher = Batcher(send, places=places, limits=BatchLimits(max_batch=2, timeout_s=0.02))

    async def fail() -> None:
        try:
            await batcher.submit([np.zeros((2, 2, 3), np.uint8) for _ in range(images)])
        except error:
            return
        raise AssertionError("it was to fail")

    assert await garbage_of(fail) == 0


@pytest.mark.parametrize("lost", [1, 3])
async def test_a_call_whose_replica_was_lost_is_gone(lost: int) -> None:
    """Another one answers, or none."""

    async def call() -> None:
        errors = [ActorUnavailableError("gone for now", b"0" * 16) for _ in range(lost)]
        client: ClassifierClient = client_of(FakeHandle(*errors))
        try:
            await client.predict([np.zeros((2, 2, 3), np.uint8)])
        except ClusterError:
            assert lost == 3
        else:
            assert lost == 1

    assert await garbage_of(call) == 0
