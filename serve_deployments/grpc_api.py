"""The Open Inference Protocol v2 over gRPC. No HTTP in here: messages in, messages out.

Off unless the service was started with a gRPC port (`MANTA_GRPC_PORT`). A client names the application in the metadata
of each call: `application: router`. Every answer, and every failure, has its request id in the trailing metadata
`x-request-id`.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc  # type: ignore[import-untyped]
import numpy as np
from ray.serve.grpc_util import RayServegRPCContext

from app.artifact import InputSpec
from app.errors import BadImage, BadInput, BodyTooLarge
from serve_deployments import v2_metadata
from serve_deployments.assignment import Caller
from serve_deployments.inference_messages import message
from serve_deployments.problem import logged_status_and_detail
from serve_deployments.request_body import LONGEST_NAME
from serve_deployments.request_headers import REQUEST_ID, SANE_ID
from serve_deployments.request_log import RequestLog
from serve_deployments.v2_request import ENCODED, InferRequest, infer_request
from serve_deployments.v2_response import binary_tensor
from serve_deployments.v2_tensors import bytes_to_binary

if TYPE_CHECKING:
    from serve_deployments.http_api import Answer, Predictor

_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}

Context = RayServegRPCContext


@dataclass(slots=True, kw_only=True)
class Call:
    """What is known of a call beside its message."""

    metadata: Mapping[str, str]
    request_id: str
    started: float
    """On the clock of `time.perf_counter`."""
    answer: Answer | None = None
    """Who answered, where a model was asked."""


Method = Callable[[Any, Call], Awaitable[Any]]


class GrpcApi:
    def __init__(self, predictor: Predictor, *, max_images: int, max_bytes: int, log: RequestLog | None = None) -> None:
        self._predictor = predictor
        self._max_images = max_images
        self._max_bytes = max_bytes
        self._log = log or RequestLog()

    async def answer(self, name: str, request: Any, context: Context) -> Any:
        """The answer to any call. What goes wrong stands in the context; then the answer is empty."""
        methods: dict[str, Method] = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._model_infer,
        }
        metadata = dict(context.invocation_metadata())
        call = Call(metadata=metadata, request_id=_request_id(metadata, context), started=time.perf_counter())
        context.set_trailing_metadata([(REQUEST_ID, call.request_id)])
        status, failure = 200, ""
        try:
            reply = await methods[name](request, call)
        except Exception as error:
            failure = type(error).__name__
            status, detail = logged_status_and_detail(error, call.request_id)
            context.set_code(_CODES.get(status, grpc.StatusCode.INTERNAL))
            context.set_details(detail)
            reply = message(f"{name}Response")()
        self._predictor.count_http(f"grpc {name}", status)
        self._log.note_call("gRPC", call.request_id, name, status, call.started, failure, call.answer)
        return reply

    async def _server_live(self, _request: Any, _call: Call) -> Any:
        return message("ServerLiveResponse")(live=True)

    async def _server_ready(self, _request: Any, _call: Call) -> Any:
        return message("ServerReadyResponse")(ready=self._predictor.readiness().reason is None)

    async def _model_ready(self, request: Any, _call: Call) -> Any:
        version = self._predictor.deployment().find(request.name, request.version or None)
        return message("ModelReadyResponse")(ready=version.problem is None)

    async def _server_metadata(self, _request: Any, _call: Call) -> Any:
        return message("ServerMetadataResponse")(**v2_metadata.server_metadata())

    async def _model_metadata(self, request: Any, _call: Call) -> Any:
        deployment = self._predictor.deployment()
        values = v2_metadata.model_metadata(deployment, deployment.find(request.name, request.version or None))
        values.pop("parameters")  # the protocol's message has no place for them
        return message("ModelMetadataResponse")(**values)

    async def _model_infer(self, request: Any, call: Call) -> Any:
        if request.ByteSize() > self._max_bytes:
            raise BodyTooLarge(f"the message has {request.ByteSize()} bytes, the limit is {self._max_bytes:,}")
        deployment = self._predictor.deployment()
        version = deployment.find(request.model_name, request.model_version or None)
        asked = _read(request, version.manifest.input, self._max_images)
        caller = Caller(
            call.request_id,
            asked.user_id or _name(call.metadata, "x-user-id"),
            asked.quality,
            request.model_version or _name(call.metadata, "x-model-version"),
            call.started,
        )
        call.answer = answer = await self._classify(asked, caller)
        probabilities = np.stack([row.probabilities for row in answer.rows if not isinstance(row, BadImage)])
        tensor, content = binary_tensor(probabilities, answer.labels, asked.output.classes)
        return message("ModelInferResponse")(
            model_name=deployment.model,
            model_version=answer.version,
            id=request.id,
            parameters={"request_id": message("InferParameter")(string_param=caller.request_id)},
            outputs=[tensor],
            raw_output_contents=[content],
        )

    async def _classify(self, asked: InferRequest, caller: Caller) -> Answer:
        if asked.pixels is not None:
            return await self._predictor.classify_pixels(asked.pixels, caller)
        images = [value for value in asked.encoded if isinstance(value, bytes)]
        answer = await self._predictor.classify(images, caller)
        for index, row in enumerate(answer.rows):
            if isinstance(row, BadImage):
                raise type(row)(f"`{ENCODED}`[{index}]: {row}")
        return answer


def _read(request: Any, spec: InputSpec, max_images: int) -> InferRequest:
    """A ModelInferRequest. Raises BadInput."""
    if len(request.raw_input_contents) > 1:
        raise BadInput(f"one input is expected, so one of `raw_input_contents`, not {len(request.raw_input_contents)}")
    inputs, binary = [], b"".join(request.raw_input_contents)
    for tensor in request.inputs:
        values, contents = _named(tensor), tensor.contents
        values |= {"datatype": tensor.datatype, "shape": list(tensor.shape)}
        if contents.bytes_contents:
            binary = bytes_to_binary(contents.bytes_contents)
        elif contents.uint_contents:
            values["data"] = list(contents.uint_contents)
        if "data" not in values:
            values["parameters"]["binary_data_size"] = len(binary)
        inputs.append(values)
    values = {
        "id": request.id,
        "parameters": _plain(request.parameters),
        "inputs": inputs,
        "outputs": [_named(output) for output in request.outputs],
    }
    return infer_request(values, memoryview(binary), spec, max_images)


def _named(tensor: Any) -> dict[str, Any]:
    return {"name": tensor.name, "parameters": _plain(tensor.parameters)}


def _plain(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as they would be in JSON; one without a value is null."""
    chosen = ((name, each, each.WhichOneof("parameter_choice")) for name, each in parameters.items())
    return {name: getattr(each, choice) if choice else None for name, each, choice in chosen}


def _request_id(metadata: Mapping[str, str], context: Context) -> str:
    """The client's own, else the one that Serve made for the call and sends with the answer."""
    for sent in (metadata.get(REQUEST_ID), dict(context.trailing_metadata() or ()).get("request_id")):
        if sent is not None and SANE_ID.fullmatch(sent):
            return sent
    return uuid.uuid4().hex


def _name(metadata: Mapping[str, str], key: str) -> str | None:
    value = metadata.get(key)
    if value is not None and not 1 <= len(value) <= LONGEST_NAME:
        raise BadInput(f"the metadata {key} must hold 1 to {LONGEST_NAME} characters")
    return value


class InferenceService:
    """The methods that Serve looks for in the ingress deployment, by the names of the protocol."""

    _grpc: GrpcApi

    async def ServerLive(self, request: Any, grpc_context: Context) -> Any:  # noqa: N802
        return await self._grpc.answer("ServerLive", request, grpc_context)

    async def ServerReady(self, request: Any, grpc_context: Context) -> Any:  # noqa: N802
        return await self._grpc.answer("ServerReady", request, grpc_context)

    async def ModelReady(self, request: Any, grpc_context: Context) -> Any:  # noqa: N802
        return await self._grpc.answer("ModelReady", request, grpc_context)

    async def ServerMetadata(self, request: Any, grpc_context: Context) -> Any:  # noqa: N802
        return await self._grpc.answer("ServerMetadata", request, grpc_context)

    async def ModelMetadata(self, request: Any, grpc_context: Context) -> Any:  # noqa: N802
        return await self._grpc.answer("ModelMetadata", request, grpc_context)

    async def ModelInfer(self, request: Any, grpc_context: Context) -> Any:  # noqa: N802
        return await self._grpc.answer("ModelInfer", request, grpc_context)
