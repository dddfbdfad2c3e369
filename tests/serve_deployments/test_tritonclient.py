"""Triton's own HTTP client, as it comes, against the real router: only Ray's hop to the replicas is replaced."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from starlette.types import ASGIApp
from tritonclient.utils import InferenceServerException

from serve_deployments.admin_api import AdminApi
from serve_deployments.classifier_client import ClassifierClient
from serve_deployments.http_api import HttpApi
from serve_deployments.reporter import Noted
from serve_deployments.request_body import Bodies
from serve_deployments.router import Service
from serve_deployments.schemas import RouterArgs
from serve_deployments.windows import Counted, Windows
from tests.serve_deployments.applications import Applications
from tests.serve_deployments.fakes import FakeControl, asgi, colour_png
from tests.serve_deployments.local_server import serve
from tests.triton import MODEL, PIXELS, TritonContract, encoded, images, output, winners

MAX_IMAGES = 50


class ControlOf(FakeControl):
    """Has the newest report of one router at all times."""

    def __init__(self, service: Service) -> None:
        super().__init__()
        self._service = service

    async def call(self, method: str, *arguments: Any) -> Any:
        if method == "statistics":
            windows = Windows(Counted(), keep_s=60)
            windows.add(self._service.report("router", Noted([], [])), 0)
            return windows.statistics()
        return await super().call(method, *arguments)


@pytest.fixture(scope="module")
def applications(tmp_path_factory: pytest.TempPathFactory) -> Applications:
    deployed = Applications(tmp_path_factory.mktemp("bundles"))
    deployed.deploy("1")
    deployed.deploy("2")
    return deployed


@pytest.fixture(scope="module")
def address(applications: Applications) -> Iterator[str]:
    async def connect(application: str, *, retries: int) -> object:
        return applications.clients[application]

    async def make() -> ASGIApp:
        args = RouterArgs(max_batch=16)
        service = Service(args)
        traffic = applications.traffic(1, **{"1": 3, "2": 1})
        await service.fleet.apply({**traffic, "quality": {"accurate": "2", "ensemble": {"1": 1, "2": 1}}})
        bodies = Bodies(max_bytes=args.max_body_bytes, max_bytes_in_all=args.max_body_bytes_in_all)
        control = ControlOf(service)
        admin = AdminApi(control, bodies, token="")
        return asgi(HttpApi(service, bodies, admin=admin, control=control, max_images=MAX_IMAGES))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClassifierClient, "connect", connect)
        with serve(make) as address:
            yield address


@pytest.fixture
def client(address: str) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(address, concurrency=4) as client:
        yield client


def test_health(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    assert client.is_model_ready(MODEL, "2")
    assert not client.is_model_ready(MODEL, "3")
    assert not client.is_model_ready("other")


def test_metadata(client: triton.InferenceServerClient) -> None:
    assert client.get_server_metadata()["name"] == "manta"
    metadata = client.get_model_metadata(MODEL)
    assert metadata["name"] == MODEL
    assert metadata["versions"] == ["1", "2"]
    assert metadata["inputs"] == [{"name": "images", "datatype": "UINT8", "shape": [-1, 8, 8, 3]}]
    assert client.get_model_metadata(MODEL, "2")["outputs"][0]["shape"] == [-1, 3]
    config = client.get_model_config(MODEL)
    assert config["max_batch_size"] == MAX_IMAGES
    assert config["input"][0]["data_type"] == "TYPE_UINT8"
    assert config["input"][0]["format"] == "FORMAT_NHWC"
    assert client.get_model_config(MODEL, "1")["output"][0]["dims"] == [3]
    index = client.get_model_repository_index()
    assert [(entry["name"], entry["version"], entry["state"]) for entry in index] == [
        (MODEL, "1", "READY"),
        (MODEL, "2", "READY"),
    ]


class TestContract(TritonContract):
    pass


def test_a_batch_larger_than_the_routers(client: triton.InferenceServerClient) -> None:
    order = np.arange(MAX_IMAGES) % 3
    assert winners(client.infer(MODEL, images(PIXELS[order]))) == order.tolist()


def test_one_image(client: triton.InferenceServerClient) -> None:
    assert winners(client.infer(MODEL, images(PIXELS[1:2]))) == [1]


@pytest.mark.parametrize("up", [None, "gzip", "deflate"])
@pytest.mark.parametrize("down", [None, "gzip", "deflate"])
def test_compression(client: triton.InferenceServerClient, up: str | None, down: str | None) -> None:
    order = np.arange(MAX_IMAGES) % 3
    result = client.infer(
        MODEL,
        images(PIXELS[order]),
        outputs=output(classes=3),
        request_compression_algorithm=up,
        response_compression_algorithm=down,
    )
    texts = result.as_numpy("probabilities")
    assert [int(text.split(b":")[1]) for text in texts[:, 0]] == order.tolist()


def test_a_version_by_name(client: triton.InferenceServerClient) -> None:
    for version in "12":
        for _ in range(5):
            assert client.infer(MODEL, images(), model_version=version).get_response()["model_version"] == version


def test_without_a_version_the_traffic_file_decides(client: triton.InferenceServerClient) -> None:
    def answered_by(user: str, *, by_header: bool) -> str:
        headers = {"X-User-Id": user} if by_header else None
        parameters = None if by_header else {"user_id": user}
        result = client.infer(MODEL, images(PIXELS[:1]), headers=headers, parameters=parameters)
        version: str = result.get_response()["model_version"]
        return version

    users = [f"user {number}" for number in range(30)]
    first = [answered_by(user, by_header=True) for user in users]
    assert [answered_by(user, by_header=False) for user in users] == first
    assert set(first) == {"1", "2"}
    alone = [client.infer(MODEL, images(PIXELS[:1])) for _ in range(40)]
    anybody = {result.get_response()["model_version"] for result in alone}
    assert anybody == {"1", "2"}  # by chance only one of them: once in 100,000


def test_a_quality_is_a_request_parameter(client: triton.InferenceServerClient) -> None:
    for quality, answered in (("accurate", "2"), ("ensemble", "1+2")):
        for _ in range(5):
            result = client.infer(MODEL, images(), parameters={"quality": quality})
            assert result.get_response()["model_version"] == answered
            assert winners(result) == [0, 1, 2]
    for quality, match in (("fast", "not set up"), ("best", "one of fast, accurate")):
        with pytest.raises(InferenceServerException, match=match) as caught:
            client.infer(MODEL, images(), parameters={"quality": quality})
        assert caught.value.status() == "400"


def test_statistics(client: triton.InferenceServerClient) -> None:
    def read() -> dict[str, Any]:
        (entry,) = client.get_inference_statistics(MODEL, "2")["model_stats"]
        return entry

    before = read()
    for _ in range(3):
        client.infer(MODEL, images(), model_version="2")
    after = read()
    assert after["inference_count"] - before["inference_count"] == 9
    assert after["execution_count"] - before["execution_count"] == 3
    success = after["inference_stats"]["success"]
    assert success["count"] - before["inference_stats"]["success"]["count"] == 3
    assert success["ns"] > before["inference_stats"]["success"]["ns"]
    assert after["last_inference"] >= before["last_inference"] > 1_700_000_000_000
    assert 3 in [batch["batch_size"] for batch in after["batch_stats"]]
    assert [entry["version"] for entry in client.get_inference_statistics()["model_stats"]] == ["1", "2"]
    assert [entry["version"] for entry in client.get_inference_statistics(MODEL)["model_stats"]] == ["1", "2"]


def refused(client: triton.InferenceServerClient, inputs: list[triton.InferInput], **asked: object) -> tuple[str, str]:
    """Status and message."""
    with pytest.raises(InferenceServerException) as caught:
        client.infer(**{"model_name": MODEL, "inputs": inputs, **asked})
    return caught.value.status(), caught.value.message()


def test_refusals_say_what_was_expected(client: triton.InferenceServerClient) -> None:
    wrong_name = triton.InferInput("input", [3, 8, 8, 3], "UINT8")
    wrong_name.set_data_from_numpy(PIXELS)
    assert refused(client, [wrong_name]) == (
        "400",
        "there is no input 'input': give `images` (UINT8) or `encoded` (BYTES)",
    )
    wrong_type = triton.InferInput("images", [3, 8, 8, 3], "FP32")
    wrong_type.set_data_from_numpy(PIXELS.astype(np.float32))
    assert refused(client, [wrong_type]) == ("400", "input `images` must have datatype UINT8, not 'FP32'")
    wrong_shape = images(np.zeros((1, 3, 8, 8), np.uint8))
    assert refused(client, wrong_shape) == (
        "400",
        "input `images` must have shape [-1, 8, 8, 3] (-1 is the number of images), not [1, 3, 8, 8]",
    )
    too_many = images(np.zeros((MAX_IMAGES + 1, 8, 8, 3), np.uint8))
    assert refused(client, too_many) == ("400", f"input `images` must hold 1 to {MAX_IMAGES} images, not 51")
    both = images() + encoded(colour_png(0))
    assert refused(client, both)[0] == "400"
    assert refused(client, images(), outputs=[triton.InferRequestedOutput("logits")])[0] == "400"
    status, message = refused(client, encoded(colour_png(0), b"no image"))
    assert status == "400"
    assert message.startswith("`encoded`[1]: not a JPEG")
    assert refused(client, images(), model_name="other") == (
        "404",
        "there is no model 'other'; the one deployed is 'colours'",
    )
    assert refused(client, images(), model_version="9") == (
        "404",
        "model 'colours' has no version '9' deployed (it has: 1, 2)",
    )


def test_loading_is_refused_with_the_command_that_does_it(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="manta deploy"):
        client.load_model(MODEL)
    with pytest.raises(InferenceServerException, match="manta undeploy"):
        client.unload_model(MODEL)


def test_what_the_client_offers_beyond(client: triton.InferenceServerClient) -> None:
    shared = triton.InferInput("images", [3, 8, 8, 3], "UINT8")
    shared.set_shared_memory("region", 576)
    assert refused(client, [shared]) == ("400", "shared memory is not supported: send the tensor as binary data")
    for call in (client.get_system_shared_memory_status, client.get_trace_settings, client.get_log_settings):
        with pytest.raises(InferenceServerException, match="no route"):
            call()


def test_sequence_priority_and_timeout_are_let_pass(client: triton.InferenceServerClient) -> None:
    result = client.infer(MODEL, images(), sequence_id=3, sequence_start=True, priority=1, timeout=1_000_000)
    assert winners(result) == [0, 1, 2]


async def test_the_asyncio_client(address: str) -> None:
    import tritonclient.http.aio as triton_aio

    async with triton_aio.InferenceServerClient(address) as client:
        assert await client.is_server_ready()
        tensor = triton_aio.InferInput("images", [3, 8, 8, 3], "UINT8")
        tensor.set_data_from_numpy(PIXELS)
        for algorithm in (None, "gzip", "deflate"):
            result = await client.infer(
                MODEL,
                [tensor],
                request_compression_algorithm=algorithm,
                response_compression_algorithm=algorithm,
            )
            assert winners(result) == [0, 1, 2]
