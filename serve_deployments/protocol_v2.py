"""The routes of the Open Inference Protocol v2 (KServe, Triton), so that their clients work as they are.

The model's name is the registry's. Infer without a version follows the traffic file, with one (in the path,
or in `X-Model-Version`) it goes there.

https://github.com/kserve/open-inference-protocol and Triton's docs/protocol/extension_*.md.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np
import orjson
from starlette.requests import Request
from starlette.responses import Response

from app.errors import BadImage, BadInput, ClusterError
from serve_deployments import v2_metadata
from serve_deployments.assignment import Caller
from serve_deployments.content_coding import WORTH_IT, accepted_encoding, compress
from serve_deployments.deployment_view import DeploymentView, VersionView
from serve_deployments.problem import Forbidden, problem
from serve_deployments.request_body import MODEL_VERSION, USER_ID, Bodies, decode_base64, read_header, read_object
from serve_deployments.request_headers import header
from serve_deployments.request_log import remember_answer
from serve_deployments.route_table import Routes
from serve_deployments.v2_request import ENCODED, HEADER_LENGTH, InferRequest, json_size, read_infer
from serve_deployments.v2_response import encode_answer

if TYPE_CHECKING:
    from serve_deployments.admin_api import Control
    from serve_deployments.batch_statistics import BatchStatistics
    from serve_deployments.http_api import Answer, Predictor

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

INLINE_BYTES = 1 << 16
"""JSON, probabilities and answers larger than this are worked on in a thread: the loop answers others meanwhile."""


class ProtocolV2:
    def __init__(self, predictor: Predictor, bodies: Bodies, control: Control, *, max_images: int) -> None:
        self._predictor = predictor
        self._bodies = bodies
        self._control = control
        self._max_images = max_images

    def routes(self) -> Routes:
        model, version = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"
        return {
            "/v2": {"GET": self._server},
            "/v2/health/live": {"GET": self._live},
            "/v2/health/ready": {"GET": self._ready},
            "/v2/models/stats": {"GET": self._all_statistics},
            **{f"{base}/infer": {"POST": self._infer} for base in (model, version)},
            **{base: {"GET": self._metadata} for base in (model, version)},
            **{f"{base}/ready": {"GET": self._model_ready} for base in (model, version)},
            **{f"{base}/config": {"GET": self._config} for base in (model, version)},
            **{f"{base}/stats": {"GET": self._statistics} for base in (model, version)},
            "/v2/repository/index": {"POST": self._index},
            "/v2/repository/models/{model}/load": {"POST": self._load},
            "/v2/repository/models/{model}/unload": {"POST": self._unload},
        }

    async def _server(self, _request: Request, _request_id: str) -> Response:
        return _json(v2_metadata.server_metadata())

    async def _live(self, _request: Request, _request_id: str) -> Response:
        return _json({"live": True})

    async def _ready(self, _request: Request, request_id: str) -> Response:
        readiness = self._predictor.readiness()
        if readiness.reason is not None:
            return problem(ClusterError(readiness.reason), request_id, ready=False)
        return _json({"ready": True})

    async def _model_ready(self, request: Request, request_id: str) -> Response:
        deployment, version = self._find(request)
        if version.problem is not None:
            return problem(ClusterError(version.problem), request_id, ready=False)
        return _json({"name": deployment.model, "ready": True})

    async def _metadata(self, request: Request, _request_id: str) -> Response:
        return _json(v2_metadata.model_metadata(*self._find(request)))

    async def _config(self, request: Request, _request_id: str) -> Response:
        return _json(v2_metadata.model_config(*self._find(request), self._max_images))

    async def _statistics(self, request: Request, _request_id: str) -> Response:
        deployment, version = self._find(request)
        versions = (version,) if "version" in request.path_params else deployment.versions
        return await self._statistics_of(deployment.model, versions)

    async def _all_statistics(self, _request: Request, _request_id: str) -> Response:
        deployment = self._predictor.deployment()
        return await self._statistics_of(deployment.model, deployment.versions)

    async def _statistics_of(self, model: str, versions: tuple[VersionView, ...]) -> Response:
        """Of all routers, as they told `control` within the last second."""
        found: Mapping[str, BatchStatistics] = await self._control.call("statistics")
        return _json(v2_metadata.model_statistics(model, [each.version for each in versions], found))

    async def _index(self, request: Request, _request_id: str) -> Response:
        body = await self._bodies.read_content(request)
        ready_only = read_object(body).get("ready", False) if body else False
        if not isinstance(ready_only, bool):
            raise BadInput("`ready` must be true or false")
        return _json(v2_metadata.repository_index(self._predictor.deployment(), ready_only=ready_only))

    async def _load(self, _request: Request, _request_id: str) -> Response:
        raise Forbidden("models are not loaded over this protocol: use `manta deploy NAME/VERSION`")

    async def _unload(self, _request: Request, _request_id: str) -> Response:
        raise Forbidden("models are not unloaded over this protocol: use `manta undeploy VERSION`")

    async def _infer(self, request: Request, request_id: str) -> Response:
        started = time.perf_counter()
        deployment, version = self._find(request)
        body = await self._bodies.read_content(request)
        size = json_size(body, header(request, HEADER_LENGTH))
        asked = await _in_turn(size, read_infer, body, size, version.manifest.input, self._max_images)
        user_id = asked.user_id or read_header(request, USER_ID)
        pinned = request.path_params.get("version") or read_header(request, MODEL_VERSION)
        answer = await self._classify(asked, Caller(request_id, user_id, asked.quality, pinned, started))
        remember_answer(request, answer)
        probabilities = np.stack([row.probabilities for row in answer.rows if not isinstance(row, BadImage)])
        head: dict[str, Any] = {"model_name": deployment.model, "model_version": answer.version}
        if asked.id:
            head["id"] = asked.id
        head["parameters"] = {"request_id": request_id}
        content, headers = await _in_turn(
            probabilities.nbytes, encode_answer, head, probabilities, answer.labels, asked.output
        )
        encoding = accepted_encoding(request)
        if encoding is not None and len(content) >= WORTH_IT:
            content = await _in_turn(len(content), compress, content, encoding)
            headers["Content-Encoding"] = encoding
        return Response(content, headers=headers)

    async def _classify(self, asked: InferRequest, caller: Caller) -> Answer:
        """Raises BadInput, naming the index, when an encoded image is bad: the protocol has no place for it."""
        if asked.pixels is not None:
            return await self._predictor.classify_pixels(asked.pixels, caller)
        images = [await _image(index, value) for index, value in enumerate(asked.encoded)]
        answer = await self._predictor.classify(images, caller)
        for index, row in enumerate(answer.rows):
            if isinstance(row, BadImage):
                raise type(row)(f"`{ENCODED}`[{index}]: {row}")
        return answer

    def _find(self, request: Request) -> tuple[DeploymentView, VersionView]:
        deployment = self._predictor.deployment()
        return deployment, deployment.find(request.path_params["model"], request.path_params.get("version"))


async def _image(index: int, value: bytes | str) -> bytes:
    if isinstance(value, bytes):
        return value
    try:
        return await decode_base64(value)
    except BadInput as error:
        raise BadInput(f"`{ENCODED}`[{index}]: {error}") from None


async def _in_turn(
    size: int, work: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Result:
    """Work on `size` bytes: at once when that is little, else in a thread."""
    if size <= INLINE_BYTES:
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)


def _json(content: object) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")
