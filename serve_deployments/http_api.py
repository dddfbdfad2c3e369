"""Routes and answers. No ML in here: a `Predictor` classifies, this speaks HTTP.

The contract is `openapi.yaml` beside this file, which `GET /openapi.json` serves.
"""

from __future__ import annotations

import functools
import re
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import orjson
import yaml
from starlette.requests import Request
from starlette.responses import Response

import app
from app.errors import BadImage, BadInput, ClusterError
from app.predictions import top_predictions
from serve_deployments.deployment_view import DeploymentView
from serve_deployments.problem import problem, status_and_detail
from serve_deployments.protocol_v2 import ProtocolV2
from serve_deployments.request_body import Bodies, PredictRequest, read_batch, read_predict
from serve_deployments.route_table import Routes, RouteTable
from serve_deployments.traffic import Caller

_SANE_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}", re.ASCII)
REQUEST_ID = "x-request-id"


@dataclass(frozen=True, slots=True)
class Classified:
    """One image's result."""

    probabilities: np.ndarray
    """float32 [C]"""
    image_shape: tuple[int, int, int]
    """Height, width and channels of the image as it was sent."""


@dataclass(frozen=True, slots=True)
class Answer:
    version: str
    labels: tuple[str, ...]
    rows: list[Classified | BadImage]
    """One per image, in order."""


@dataclass(frozen=True, slots=True)
class Readiness:
    reason: str | None
    """Why the service cannot answer; None when it can."""
    details: dict[str, Any]


class Predictor(Protocol):
    """What the routes need. `Router` is the real one."""

    async def classify(self, images: Sequence[bytes], caller: Caller) -> Answer: ...

    async def classify_pixels(self, pixels: np.ndarray, caller: Caller) -> Answer:
        """pixels: uint8 [N, H, W, 3] RGB at the input size."""
        ...

    def deployment(self) -> DeploymentView: ...

    def readiness(self) -> Readiness: ...

    def model_info(self) -> dict[str, Any]: ...


class HttpApi:
    def __init__(self, predictor: Predictor, bodies: Bodies, *, max_images: int) -> None:
        self._predictor = predictor
        self._bodies = bodies
        self._max_images = max_images
        self._routes: Routes = {
            "/predict": {"POST": self._predict},
            "/predict/batch": {"POST": self._predict_batch},
            "/health": {"GET": self._health},
            "/health/live": {"GET": self._live},
            "/health/ready": {"GET": self._ready},
            "/model/info": {"GET": self._model_info},
            "/openapi.json": {"GET": self._openapi},
            "/docs": {"GET": self._docs},
            **ProtocolV2(predictor, bodies, max_images=max_images).routes(),
        }
        self._table = RouteTable(self._routes)

    async def handle(self, request: Request) -> Response:
        """The answer to any request. Never raises, except when the client has left."""
        sent_id = request.headers.get(REQUEST_ID)
        request_id = sent_id if sent_id is not None and _SANE_ID.fullmatch(sent_id) else uuid.uuid4().hex
        try:
            response = await self._table.find(request)(request, request_id)
        except Exception as error:
            response = problem(error, request_id)
        finally:
            self._bodies.release(request)
        if sent_id is None:  # behind Serve there always is one, and Serve puts it on the answer
            response.headers[REQUEST_ID] = request_id
        return response

    async def _predict(self, request: Request, request_id: str) -> Response:
        started = time.perf_counter()
        asked = await read_predict(request, self._bodies)
        (row,), answer = await self._classify(asked, request_id)
        if not isinstance(row, Classified):
            raise row
        return _json(
            {
                "predictions": top_predictions(row.probabilities, answer.labels, asked.top_k),
                "model_version": answer.version,
                "request_id": request_id,
                "inference_time_ms": _milliseconds_since(started),
                "image_shape": row.image_shape,
            }
        )

    async def _predict_batch(self, request: Request, request_id: str) -> Response:
        started = time.perf_counter()
        asked = await read_batch(request, self._bodies, self._max_images)
        rows, answer = await self._classify(asked, request_id)
        entries = [_batch_entry(index, row, answer.labels, asked.top_k) for index, row in enumerate(rows)]
        total = _milliseconds_since(started)
        return _json(
            {
                "batch_predictions": entries,
                "num_images": len(entries),
                "model_version": answer.version,
                "request_id": request_id,
                "total_inference_time_ms": total,
                "average_time_per_image_ms": round(total / len(entries), 3),
            }
        )

    async def _classify(self, asked: PredictRequest, request_id: str) -> tuple[list[Classified | BadInput], Answer]:
        """One row per image that was asked for: those that could not be read keep their place."""
        readable = [image for image in asked.images if isinstance(image, bytes)]
        answer = await self._predictor.classify(readable, Caller(request_id, asked.user_id))
        rows = iter(answer.rows)
        return [next(rows) if isinstance(image, bytes) else image for image in asked.images], answer

    async def _health(self, _request: Request, _request_id: str) -> Response:
        return _json(
            {
                "status": "healthy",
                "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "service": "manta",
                "version": app.__version__,
            }
        )

    async def _live(self, _request: Request, _request_id: str) -> Response:
        return _json({"alive": True})

    async def _ready(self, _request: Request, request_id: str) -> Response:
        readiness = self._predictor.readiness()
        if readiness.reason is not None:
            return problem(ClusterError(readiness.reason), request_id, ready=False, **readiness.details)
        return _json({"ready": True, **readiness.details})

    async def _model_info(self, _request: Request, _request_id: str) -> Response:
        return _json(self._predictor.model_info())

    async def _openapi(self, _request: Request, _request_id: str) -> Response:
        return Response(openapi_json(), media_type="application/json")

    async def _docs(self, _request: Request, _request_id: str) -> Response:
        return Response(_file("docs.html"), media_type="text/html")


@functools.cache
def openapi_json() -> bytes:
    """`openapi.yaml` as JSON, with the product's version filled in."""
    document = yaml.safe_load(_file("openapi.yaml"))
    document["info"]["version"] = app.__version__
    return orjson.dumps(document)


@functools.cache
def _file(name: str) -> bytes:
    return (Path(__file__).parent / name).read_bytes()


def _json(body: dict[str, Any]) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")


def _batch_entry(index: int, row: Classified | BadInput, labels: tuple[str, ...], top_k: int) -> dict[str, Any]:
    if isinstance(row, Classified):
        return {
            "image_index": index,
            "predictions": top_predictions(row.probabilities, labels, top_k),
            "image_shape": row.image_shape,
        }
    return {"image_index": index, "error": status_and_detail(row)[1]}


def _milliseconds_since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 3)
