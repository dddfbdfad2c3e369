"""Routes and answers. No ML in here: a `Predictor` classifies, this speaks HTTP.

The contract is `openapi.yaml` beside this file, which `GET /openapi.json` serves.
"""

from __future__ import annotations

import copy
import functools
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
from serve_deployments import metrics
from serve_deployments.admin_api import AdminApi, Control, Operation
from serve_deployments.assignment import Caller
from serve_deployments.cors import Cors
from serve_deployments.deployment_view import DeploymentView
from serve_deployments.problem import problem, status_and_detail
from serve_deployments.protocol_v2 import ProtocolV2
from serve_deployments.request_body import (
    MODEL_VERSION,
    USER_ID,
    Bodies,
    PredictRequest,
    read_batch,
    read_header,
    read_object,
    read_predict,
)
from serve_deployments.request_headers import REQUEST_ID, SANE_ID, header
from serve_deployments.request_log import RequestLog, remember_answer
from serve_deployments.route_table import Handler, Routes, RouteTable


@dataclass(slots=True)
class Classified:
    """One image's result."""

    probabilities: np.ndarray
    """float32 [C]"""
    image_shape: tuple[int, int, int]
    """Height, width and channels of the image as it was sent."""
    version: str
    """Who answered."""


@dataclass(slots=True)
class Answer:
    version: str
    labels: tuple[str, ...]
    rows: list[Classified | BadImage]
    """One per image, in order."""
    arm: str = ""
    """Why that version was asked."""


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

    def labels(self) -> Sequence[str]: ...

    def count_http(self, route: str, status: int) -> None: ...


class HttpApi:
    def __init__(
        self,
        predictor: Predictor,
        bodies: Bodies,
        *,
        admin: AdminApi,
        control: Control,
        max_images: int,
        allow_origins: Sequence[str] = (),
        log: RequestLog | None = None,
    ) -> None:
        self._predictor = predictor
        self._bodies = bodies
        self._admin = admin
        self._control = control
        self._max_images = max_images
        self._cors = Cors(allow_origins)
        self._log = log or RequestLog()
        self._routes: Routes = {
            "/predict": {"POST": self._predict},
            "/predict/batch": {"POST": self._predict_batch},
            "/feedback": {"POST": self._feedback},
            "/metrics": {"GET": self._metrics},
            "/health": {"GET": self._health},
            "/health/live": {"GET": self._live},
            "/health/ready": {"GET": self._ready},
            "/model/info": {"GET": self._model_info},
            "/openapi.json": {"GET": self._openapi},
            "/docs": {"GET": self._docs},
            **{
                path: {method: self._administer(operation) for method, operation in methods.items()}
                for path, methods in admin.routes.items()
            },
            **ProtocolV2(predictor, bodies, control, max_images=max_images).routes(),
        }
        self._table = RouteTable(self._routes)

    async def handle(self, request: Request) -> Response:
        """The answer to any request. Never raises, except when the client has left."""
        started, failure = time.perf_counter(), ""
        sent_id = header(request, REQUEST_ID)
        request_id = sent_id if sent_id is not None and SANE_ID.fullmatch(sent_id) else uuid.uuid4().hex
        route = self._table.find(request)
        response = self._cors.preflight(request)
        if response is None:
            try:
                response = await self._table.handler(route, request)(request, request_id)
            except Exception as error:
                # The error itself would hold this frame, which would hold it: a cycle, with the body in it.
                failure = type(error).__name__
                response = problem(error, request_id)
            finally:
                self._bodies.release(request)
            self._cors.mark(request, response)
        name = route.template if route else "other"
        self._predictor.count_http(name, response.status_code)
        self._log.note(request, request_id, name, response.status_code, started, failure)
        if sent_id != request_id:  # behind Serve there always is one, and Serve puts it on the answer
            response.headers[REQUEST_ID] = request_id
        return response

    async def _predict(self, request: Request, request_id: str) -> Response:
        started = time.perf_counter()
        asked = await read_predict(request, self._bodies)
        (row,), answer = await self._classify(request, asked, request_id, started)
        if not isinstance(row, Classified):
            raise copy.copy(row)  # itself, it would hold this frame, which holds it, and the image too
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
        rows, answer = await self._classify(request, asked, request_id, started)
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

    async def _classify(
        self, request: Request, asked: PredictRequest, request_id: str, started: float
    ) -> tuple[list[Classified | BadInput], Answer]:
        """One row per image that was asked for: those that could not be read keep their place."""
        readable = [image for image in asked.images if isinstance(image, bytes)]
        user_id = asked.user_id or read_header(request, USER_ID)
        caller = Caller(request_id, user_id, asked.quality, read_header(request, MODEL_VERSION), started)
        answer = await self._predictor.classify(readable, caller)
        remember_answer(request, answer)
        rows = iter(answer.rows)
        return [next(rows) if isinstance(image, bytes) else image for image in asked.images], answer

    async def _feedback(self, request: Request, _request_id: str) -> Response:
        values = read_object(await self._bodies.read(request))
        answered, label, index = values.get("request_id"), values.get("label"), values.get("image_index", 0)
        if not isinstance(answered, str) or not SANE_ID.fullmatch(answered):
            raise BadInput("`request_id` must be that of an answer")
        if isinstance(label, bool) or not isinstance(label, str | int):
            raise BadInput("`label` must be the name of a class, or its class_id")
        if isinstance(index, bool) or not isinstance(index, int) or index < 0:
            raise BadInput("`image_index` must be a whole number of 0 or more")
        labels = self._predictor.labels()
        class_id = _class_id(label, labels)
        joined = await self._control.call("feedback", answered, index, class_id)
        return _json({"request_id": answered, "label": labels[class_id], **joined}, 200 if joined["joined"] else 202)

    async def _metrics(self, _request: Request, _request_id: str) -> Response:
        return Response(await self._control.call("metrics"), headers={"content-type": metrics.CONTENT_TYPE})

    def _administer(self, operation: Operation) -> Handler:
        async def administer(request: Request, _request_id: str) -> Response:
            self._admin.check(request)
            return _json(await operation(request))

        return administer

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


def _json(body: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json")


def _class_id(label: str | int, labels: Sequence[str]) -> int:
    """Raises BadInput for what is no class of the model."""
    if isinstance(label, str):
        if label not in labels:
            raise BadInput(f"{label[:64]!r} is no class of this model")
        return labels.index(label)
    if not 0 <= label < len(labels):
        raise BadInput(f"class_id {label} is not between 0 and {len(labels) - 1}")
    return label


def _batch_entry(index: int, row: Classified | BadInput, labels: tuple[str, ...], top_k: int) -> dict[str, Any]:
    if isinstance(row, Classified):
        return {
            "image_index": index,
            "predictions": top_predictions(row.probabilities, labels, top_k),
            "image_shape": row.image_shape,
            "model_version": row.version,
        }
    return {"image_index": index, "error": status_and_detail(row)[1]}


def _milliseconds_since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 3)
