"""A request's memory is free as soon as it is answered: the router collects garbage rarely, and a body may be large."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable, Iterator

import numpy as np
import pytest
from starlette.requests import Request

from app.errors import ClusterError, Overloaded
from serve_deployments.batcher import Batcher, BatchLimits
from serve_deployments.http_api import HttpApi
from tests.serve_deployments.fakes import ColourPredictor, colour_png, http_api

RED = colour_png(0)
Send = Callable[[list[np.ndarray]], Awaitable[list[np.ndarray]]]


@pytest.fixture
def without_collections() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def answered(api: HttpApi, body: bytes, kind: str, path: str = "/predict") -> tuple[int, weakref.ref[Request]]:
    """The status, and the request, if anything still holds it."""

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    headers = [(b"content-type", kind.encode())]
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers, "query_string": b""}
    request = Request(scope, receive)
    response = await api.handle(request)
    await asyncio.sleep(0.01)  # generators that were left early are closed by the loop
    return response.status_code, weakref.ref(request)


@pytest.mark.usefixtures("without_collections")
@pytest.mark.parametrize(
    ("path", "kind", "body", "status"),
    [
        ("/predict", "image/png", RED, 200),
        ("/predict", "image/png", RED[:-20], 400),
        ("/predict", "image/png", b"not an image", 400),
        ("/predict", "application/json", b"{", 400),
        ("/predict", "application/json", b'{"image": "?"}', 400),
        ("/predict", "application/json", b'{"image": "aGVsbG8="}', 400),
        ("/predict", "text/plain", b"x", 415),
        ("/predict", "image/png", b"x" * 100_000, 413),
        ("/predict/batch", "application/json", b'{"images": [{"image": "?"}, {"image": "aGVsbG8="}]}', 200),
        ("/predict/batch", "application/json", b'{"images": []}', 400),
        ("/v2/models/colours/infer", "application/json", b'{"inputs": []}', 400),
        ("/v2/models/colours/infer", "application/json", b"[", 400),
        ("/nowhere", "application/json", b"[", 404),
    ],
)
async def test_an_answered_request_is_gone(path: str, kind: str, body: bytes, status: int) -> None:
    found, request = await answered(http_api(ColourPredictor()), body, kind, path)
    assert found == status
    assert request() is None


@pytest.mark.usefixtures("without_collections")
@pytest.mark.parametrize("failure", [ClusterError("none"), Overloaded("full"), TimeoutError()])
async def test_a_failed_one_too(failure: Exception) -> None:
    predictor = ColourPredictor()
    predictor.failure = failure
    api = http_api(predictor)
    _, request = await answered(api, RED, "image/png")
    failure.__traceback__ = predictor.failure = None  # the test's own hold on it
    assert request() is None


async def _cancelled(api: HttpApi) -> weakref.ref[Request]:
    never = asyncio.Event()

    async def receive() -> dict[str, object]:
        await never.wait()
        raise AssertionError("unreachable")

    headers = [(b"content-type", b"image/png")]
    request = Request({"type": "http", "method": "POST", "path": "/predict", "headers": headers}, receive)
    task = asyncio.create_task(api.handle(request))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return weakref.ref(request)


@pytest.mark.usefixtures("without_collections")
async def test_one_whose_client_left_too() -> None:
    request = await _cancelled(http_api(ColourPredictor()))
    await asyncio.sleep(0)
    assert request() is None


async def _failing(_items: list[np.ndarray]) -> list[np.ndarray]:
    raise ClusterError("every replica was lost")


async def _never(_items: list[np.ndarray]) -> list[np.ndarray]:
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


@pytest.mark.usefixtures("without_collections")
@pytest.mark.parametrize(
    ("send", "places", "error"), [(_failing, 1, ClusterError), (_never, 1, TimeoutError), (_never, 0, TimeoutError)]
)
async def test_images_of_a_batch_that_failed_are_gone(send: Send, places: int, error: type[Exception]) -> None:
    """The second: no answer in time. The third: not even a place."""
    batcher = Batcher(send, places=places, limits=BatchLimits(timeout_s=0.02))
    image = np.zeros((2, 2, 3), np.uint8)
    held = weakref.ref(image)
    try:
        await batcher.submit([image])
    except error:
        del image
    await asyncio.sleep(0.01)
    assert held() is None
