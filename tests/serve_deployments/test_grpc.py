"""Triton's gRPC client, as it comes, against the router's own answers: Serve's server and Ray's hop are replaced."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from typing import Any

import grpc  # type: ignore[import-untyped]
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from serve_deployments.classifier_client import ClassifierClient
from serve_deployments.grpc_api import GrpcApi, InferenceService
from serve_deployments.inference_messages import add_to_server, message
from serve_deployments.router import Service
from serve_deployments.schemas import RouterArgs
from tests.serve_deployments.applications import Applications
from tests.serve_deployments.fakes import colour_png
from tests.triton import MODEL, PIXELS

MAX_BYTES = 100_000


class Servicer(InferenceService):
    """As Serve does: looks the method up by its name."""

    def __init__(self, api: GrpcApi) -> None:
        self._grpc = api

    def __getattribute__(self, name: str) -> Any:
        method = super().__getattribute__(name)
        if name.startswith("_"):
            return method

        async def call(request: Any, context: grpc.aio.ServicerContext) -> Any:
            return await method(request, grpc_context=context)

        return call


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    applications = Applications(tmp_path_factory.mktemp("bundles"))
    for version in "12":
        applications.deploy(version)
    started, over, address = threading.Event(), asyncio.Event(), []

    async def connect(application: str, *, retries: int) -> object:
        return applications.clients[application]

    async def run() -> None:
        service = Service(RouterArgs())
        traffic = applications.traffic(1, **{"1": 3, "2": 1})
        await service.fleet.apply({**traffic, "quality": {"ensemble": {"1": 1, "2": 1}}})
        server = grpc.aio.server()
        add_to_server(Servicer(GrpcApi(service, max_images=50, max_bytes=MAX_BYTES)), server)
        address.append(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
        await server.start()
        loop.append(asyncio.get_running_loop())
        started.set()
        await over.wait()
        await server.stop(None)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    loop: list[asyncio.AbstractEventLoop] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClassifierClient, "connect", connect)
        thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
        thread.start()
        assert started.wait(30)
        yield address[0]
        loop[0].call_soon_threadsafe(over.set)
        thread.join(30)


@pytest.fixture
def client(address: str) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(address) as client:
        yield client


def images(pixels: np.ndarray = PIXELS, name: str = "images") -> list[triton.InferInput]:
    tensor = triton.InferInput(name, list(pixels.shape), "UINT8")
    tensor.set_data_from_numpy(pixels)
    return [tensor]


def encoded(*files: bytes) -> list[triton.InferInput]:
    tensor = triton.InferInput("encoded", [len(files)], "BYTES")
    tensor.set_data_from_numpy(np.array(files, np.object_))
    return [tensor]


def winners(result: triton.InferResult) -> list[int]:
    probabilities = result.as_numpy("probabilities")
    assert probabilities.dtype == np.float32
    return [int(row) for row in probabilities.argmax(1)]


def test_what_runs(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    assert client.is_model_ready(MODEL, "2")
    assert client.get_server_metadata().name == "manta"
    metadata = client.get_model_metadata(MODEL)
    assert list(metadata.versions) == ["1", "2"]
    assert (metadata.inputs[0].name, list(metadata.inputs[0].shape)) == ("images", [-1, 8, 8, 3])
    assert list(metadata.outputs[0].shape) == [-1, 3]


def test_pixels_and_files(client: triton.InferenceServerClient) -> None:
    assert winners(client.infer(MODEL, images())) == [0, 1, 2]
    files = [colour_png(channel, 20, 30) for channel in (2, 0)]
    result = client.infer(MODEL, encoded(*files), request_id="mine")
    assert winners(result) == [2, 0]
    reply = result.get_response()
    assert (reply.id, reply.model_name) == ("mine", MODEL)
    assert len(reply.parameters["request_id"].string_param) == 32


def test_classification(client: triton.InferenceServerClient) -> None:
    wanted = [triton.InferRequestedOutput("probabilities", class_count=1)]
    result = client.infer(MODEL, images(PIXELS[1:2]), outputs=wanted)
    assert result.as_numpy("probabilities").tolist() == [[b"1.000000:1:green"]]


def test_which_version(client: triton.InferenceServerClient) -> None:
    def asked(**how: Any) -> str:
        return str(client.infer(MODEL, images(), **how).get_response().model_version)

    assert asked(model_version="2") == "2"
    assert asked(headers={"x-model-version": "2"}) == "2"
    assert asked(parameters={"quality": "ensemble"}) == "1+2"
    users = [f"user {number}" for number in range(20)]
    first = [asked(parameters={"user_id": user}) for user in users]
    assert [asked(headers={"x-user-id": user}) for user in users] == first
    assert set(first) == {"1", "2"}
    sent = client.infer(MODEL, images(), headers={"x-request-id": "mine-1"}).get_response()
    assert sent.parameters["request_id"].string_param == "mine-1"


@pytest.mark.parametrize(
    ("inputs", "how", "code", "match"),
    [
        (images(name="pictures"), {}, "INVALID_ARGUMENT", "no input 'pictures'"),
        (images(PIXELS[:, :4]), {}, "INVALID_ARGUMENT", r"must have shape \[-1, 8, 8, 3\]"),
        (images() + images(), {}, "INVALID_ARGUMENT", "one input is expected"),
        (encoded(colour_png(0), b"no image"), {}, "INVALID_ARGUMENT", r"`encoded`\[1\]: not a JPEG"),
        (images(), {"model_version": "9"}, "NOT_FOUND", "no version '9'"),
        (images(), {"parameters": {"quality": "fast"}}, "INVALID_ARGUMENT", "not set up"),
        (images(), {"parameters": {"user_id": 7}}, "INVALID_ARGUMENT", "`user_id` must be text"),
        (images(), {"headers": {"x-user-id": "x" * 300}}, "INVALID_ARGUMENT", "1 to 256 characters"),
        (encoded(b"x" * MAX_BYTES), {}, "RESOURCE_EXHAUSTED", "the limit is 100,000"),
    ],
)
def test_what_is_refused(
    client: triton.InferenceServerClient, inputs: list[Any], how: dict[str, Any], code: str, match: str
) -> None:
    with pytest.raises(InferenceServerException, match=match) as caught:
        client.infer(MODEL, inputs, **how)
    assert caught.value.status() == f"StatusCode.{code}"


def test_another_model(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="there is no model 'other'"):
        client.infer("other", images())
    with pytest.raises(InferenceServerException, match="there is no model 'other'"):
        client.get_model_metadata("other")


@pytest.mark.parametrize(("name", "ok"), [(MODEL, True), ("other", False)])
def test_the_request_id_is_told_of_failures_too(address: str, name: str, ok: bool) -> None:
    with grpc.insecure_channel(address) as channel:
        ask = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelMetadata",
            request_serializer=message("ModelMetadataRequest").SerializeToString,
            response_deserializer=message("ModelMetadataResponse").FromString,
        )
        for sent, expected in (("mine-1", r"mine-1"), ("not sane", r"[0-9a-f]{32}")):
            call = ask.future(message("ModelMetadataRequest")(name=name), metadata=(("x-request-id", sent),))
            assert (call.code() == grpc.StatusCode.OK) is ok
            assert re.fullmatch(expected, dict(call.trailing_metadata())["x-request-id"])
