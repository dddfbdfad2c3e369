"""Calling a running service over HTTP: what `manta predict` and the pipeline's last check use."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np

from app.errors import BadInput, ClusterError, MantaError, NotFound
from app.imaging import encode_png

CONTENT_TYPES = {"jpeg": "image/jpeg", "png": "image/png", "bmp": "image/bmp", "webp": "image/webp"}


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpEvaluation:
    """A whole split sent through the service."""

    accuracy: float
    answers: np.ndarray
    """int64 [N]: the class id answered for each image."""
    versions: frozenset[str]
    """Model versions that answered."""
    p50_ms: float
    """Median latency of one client that sends one image at a time."""
    p99_ms: float


class ServiceClient:
    """A synchronous client. Raises ClusterError when nobody answers, and the service's own error text otherwise."""

    def __init__(self, url: str, *, timeout_s: float = 30) -> None:
        self.url = url.rstrip("/")
        self._client = httpx.Client(base_url=self.url, timeout=timeout_s, trust_env=False)

    def __enter__(self) -> ServiceClient:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._client.close()

    def get(self, path: str) -> dict[str, Any]:
        return self._answer(lambda: self._client.get(path))

    def predict(self, image: bytes, content_type: str, *, top_k: int = 1) -> dict[str, Any]:
        """The answer of `POST /predict` for one encoded image."""
        return self._answer(
            lambda: self._client.post(
                "/predict", params={"top_k": top_k}, content=image, headers={"Content-Type": content_type}
            )
        )

    def predict_batch(self, images: Sequence[bytes], *, top_k: int = 1) -> dict[str, Any]:
        """The answer of `POST /predict/batch` for encoded images of any formats."""
        body = batch_body(images, top_k=top_k)
        return self._answer(
            lambda: self._client.post("/predict/batch", content=body, headers={"Content-Type": "application/json"})
        )

    def _answer(self, call: Callable[[], httpx.Response]) -> dict[str, Any]:
        try:
            response = call()
        except httpx.HTTPError as error:
            raise ClusterError(f"no answer from {self.url} ({error}); start a service with: manta serve") from error
        return read_answer(response)


def batch_body(images: Sequence[bytes], *, top_k: int) -> bytes:
    """The JSON that `POST /predict/batch` takes."""
    encoded = [{"image": base64.b64encode(image).decode()} for image in images]
    return json.dumps({"images": encoded, "top_k": top_k}).encode()


def read_answer(response: httpx.Response) -> dict[str, Any]:
    """The JSON body of a successful answer; raises the matching MantaError for any other."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if response.status_code == httpx.codes.OK and isinstance(body, dict):
        return body
    text = body.get("error") if isinstance(body, dict) else None
    text = text or " ".join(response.text.split())[:200] or response.reason_phrase
    message = f"the service answers {response.status_code}: {text}"
    if response.status_code == httpx.codes.NOT_FOUND:
        raise NotFound(message)
    if response.is_client_error:
        raise BadInput(message)
    if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        raise ClusterError(message)
    raise MantaError(message)


def evaluate_over_http(
    url: str, images: np.ndarray, labels: np.ndarray, *, concurrency: int = 16, latency_samples: int = 200
) -> HttpEvaluation:
    """Sends every image as PNG and compares the answers with the labels.

    images: uint8 [N, H, W, 3]; labels: int [N]. Latency is measured apart, with one client.
    """
    return asyncio.run(_evaluate(url, images, labels, concurrency, latency_samples))


async def _evaluate(
    url: str, images: np.ndarray, labels: np.ndarray, concurrency: int, latency_samples: int
) -> HttpEvaluation:
    limits = httpx.Limits(max_connections=concurrency)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=60, trust_env=False) as client:
        latencies = await _latencies(client, images[:latency_samples])
        answers = await _predict_all(client, images, concurrency)
    ids = np.array([answer["predictions"][0]["class_id"] for answer in answers], np.int64)
    return HttpEvaluation(
        accuracy=float((ids == labels).mean()),
        answers=ids,
        versions=frozenset(answer["model_version"] for answer in answers),
        p50_ms=float(np.percentile(latencies, 50)),
        p99_ms=float(np.percentile(latencies, 99)),
    )


async def _latencies(client: httpx.AsyncClient, images: np.ndarray) -> list[float]:
    """Milliseconds of each call, one after the other, after a few that are not counted."""
    encoded = [encode_png(image) for image in images]
    for image in encoded[:10]:
        await _predict(client, image)
    latencies = []
    for image in encoded:
        started = time.perf_counter()
        await _predict(client, image)
        latencies.append(1000 * (time.perf_counter() - started))
    return latencies


async def _predict_all(client: httpx.AsyncClient, images: np.ndarray, concurrency: int) -> Sequence[dict[str, Any]]:
    answers: list[dict[str, Any]] = [{}] * len(images)
    numbered = iter(enumerate(images))

    async def worker(rows: Iterable[tuple[int, np.ndarray]]) -> None:
        for index, image in rows:
            answers[index] = await _predict(client, encode_png(image))

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(worker(numbered))
    except ExceptionGroup as failed:  # the first says what is wrong; the caller knows no groups
        raise failed.exceptions[0] from None
    return answers


async def _predict(client: httpx.AsyncClient, image: bytes) -> dict[str, Any]:
    try:
        response = await client.post(
            "/predict", params={"top_k": 1}, content=image, headers={"Content-Type": "image/png"}
        )
    except httpx.HTTPError as error:
        raise ClusterError(f"no answer from {client.base_url} ({error})") from error
    return read_answer(response)
