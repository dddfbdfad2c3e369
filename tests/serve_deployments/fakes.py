"""A predictor without a cluster, and an HTTP client without a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import numpy as np
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.artifact import InputSpec, Manifest
from app.drift import Bin, FeedbackDrift, MeasureDrift
from app.errors import BadImage
from app.imaging import RESIZE_RULE, encode_png
from serve_deployments.admin_api import AdminApi
from serve_deployments.assignment import Caller
from serve_deployments.decoder import Decoded, Decoder
from serve_deployments.deployment_view import DeploymentView, VersionView
from serve_deployments.drift_watch import Drift
from serve_deployments.http_api import Answer, Classified, HttpApi, Readiness
from serve_deployments.request_body import Bodies
from serve_deployments.request_log import RequestLog
from tests.bundles import COLOURS

SIZE = 8
INPUT = InputSpec(height=SIZE, width=SIZE, resize=RESIZE_RULE)
MAX_BODY_BYTES = 64 * 1024
MAX_BODIES_BYTES = 3 * MAX_BODY_BYTES
MAX_IMAGES = 5


def colour_png(channel: int, height: int = SIZE, width: int = SIZE) -> bytes:
    """An image of one pure colour: 0 red, 1 green, 2 blue."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., channel] = 255
    return encode_png(image)


class ColourPredictor:
    """Decodes for real; the class is the brightest channel. `failure` is raised instead when set.

    Version 7 answers whatever is asked for; version 8 has no replica.
    """

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.not_ready: str | None = None
        self.deployed = True
        self.callers: list[Caller] = []
        self.pixels: list[np.ndarray] = []
        self.counted: list[tuple[str, int]] = []
        self._decoder = Decoder(inline_pixels=10_000, threads=1)

    async def classify(self, images: Sequence[bytes], caller: Caller) -> Answer:
        self.callers.append(caller)
        if self.failure is not None:
            raise self.failure
        decoded = await self._decoder.decode(images, INPUT)
        return Answer("7", COLOURS, [_classified(image) for image in decoded], "champion")

    async def classify_pixels(self, pixels: np.ndarray, caller: Caller) -> Answer:
        self.callers.append(caller)
        self.pixels.append(pixels)
        if self.failure is not None:
            raise self.failure
        return Answer("7", COLOURS, [_classified(Decoded(image, (SIZE, SIZE, 3))) for image in pixels])

    def deployment(self) -> DeploymentView:
        if not self.deployed:
            return DeploymentView(model="", versions=(), champion=None)
        manifest = Manifest(
            name="colours", architecture="mean_colour", labels=COLOURS, input=INPUT, created="2026-01-01"
        )
        versions = tuple(VersionView(version, manifest, replicas) for version, replicas in (("7", 1), ("8", 0)))
        return DeploymentView(model="colours", versions=versions, champion="7")

    def labels(self) -> Sequence[str]:
        return COLOURS

    def count_http(self, route: str, status: int) -> None:
        self.counted.append((route, status))

    def readiness(self) -> Readiness:
        return Readiness(self.not_ready, {"model": "colours", "revision": 3, "model_version": "7", "problem": None})

    def model_info(self) -> dict[str, Any]:
        if self.failure is not None:
            raise self.failure
        version = {"version": "7", "aliases": ["champion"], "weight": 1.0, "application": "classifier-7"}
        load = {"running_replicas": 1, "warm": True, "taken_out": None, "images_waiting": 0, "images_in_flight": 0}
        return {
            "model": "colours",
            "model_version": "7",
            "model_path": "/bundles/7",
            "architecture": "mean_colour",
            "input_shape": [-1, SIZE, SIZE, 3],
            "output_shape": [-1, 3],
            "num_classes": 3,
            "class_names": list(COLOURS),
            "revision": 3,
            "versions": [{**version, "variant": "fp32", "accuracy": 1.0, **load}],
        }


def _classified(image: Decoded | BadImage) -> Classified | BadImage:
    if isinstance(image, BadImage):
        return image
    brightness = image.pixels.mean((0, 1), dtype=np.float32)
    return Classified(brightness / brightness.sum(), image.shape, "7")


DRIFT = Drift(
    model="colours",
    version="7",
    since=0.0,
    until=3600.0,
    images=3,
    fewest_images=200,
    reference_images=10,
    measures=(MeasureDrift("confidence", 0.1, 0.3, False, (Bin("at most 0.5", 0.0, 0.5), Bin("above 0.5", 1.0, 0.5))),),
    feedback=FeedbackDrift(2, 0.5, 0.1, 0.9, 0.95, True),
    drifting={"feedback": "feedback: accuracy 50.0% of 2 images, 95.0% before"},
).as_values()


class FakeControl:
    """Answers from a table, and remembers what it was asked. `failure` is raised instead when set."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.failure: Exception | None = None
        self.replies: dict[str, Any] = {
            "feedback": {"joined": True},
            "metrics": b"# HELP manta_requests ...\n",
            "traffic": {"traffic": {"revision": 3}, "percent": {"7": 100.0}, "routers": []},
            "change": {"id": "1", "state": "done"},
            "operation": {"id": "1", "state": "done"},
            "statistics": {},
            "ab": {"champion": {}, "contrasts": [], "since": 0.0},
            "decisions": [],
            "drift": DRIFT,
        }

    async def call(self, method: str, *arguments: Any) -> Any:
        self.calls.append((method, *arguments))
        if self.failure is not None:
            raise self.failure
        return self.replies[method]

    async def change(self, kind: str, values: Mapping[str, Any]) -> Any:
        return await self.call("change", kind, values)


def asgi(api: HttpApi) -> ASGIApp:
    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        await (await api.handle(request))(scope, receive, send)

    return serve


def http_api(
    predictor: ColourPredictor,
    control: FakeControl | None = None,
    *,
    token: str = "",
    allow_origins: Sequence[str] = (),
    log: RequestLog | None = None,
) -> HttpApi:
    control = control or FakeControl()
    bodies = Bodies(max_bytes=MAX_BODY_BYTES, max_bytes_in_all=MAX_BODIES_BYTES)
    admin = AdminApi(control, bodies, token=token)
    return HttpApi(
        predictor,
        bodies,
        admin=admin,
        control=control,
        max_images=MAX_IMAGES,
        allow_origins=allow_origins,
        log=log,
    )


@asynccontextmanager
async def http_client(
    predictor: ColourPredictor,
    control: FakeControl | None = None,
    *,
    token: str = "",
    allow_origins: Sequence[str] = (),
) -> AsyncIterator[httpx.AsyncClient]:
    api = http_api(predictor, control, token=token, allow_origins=allow_origins)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(asgi(api)), base_url="http://manta") as client:
        yield client
