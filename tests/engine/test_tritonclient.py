"""Triton's own HTTP client, as it comes, against the engine's server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tests.engine.running import RunningServer
from tests.serve_deployments.fakes import colour_png
from tests.triton import MODEL, NAMES, PIXELS, TritonContract, encoded, images, winners

MAX_IMAGES = 5
"""Of the fixture's server."""


@pytest.fixture
def client(server: RunningServer) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server.url.removeprefix("http://"), concurrency=4) as client:
        yield client


def test_what_is_there(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    assert client.is_model_ready(MODEL, "1")
    assert not client.is_model_ready(MODEL, "2")
    assert not client.is_model_ready("other")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    metadata = client.get_model_metadata(MODEL)
    assert metadata["inputs"] == [{"name": "images", "datatype": "UINT8", "shape": [-1, 8, 8, 3]}]
    assert metadata["parameters"]["labels"] == list(NAMES)
    config = client.get_model_config(MODEL)
    assert config["max_batch_size"] == MAX_IMAGES
    assert json.loads(config["parameters"]["labels"]["string_value"]) == list(NAMES)
    assert [entry["state"] for entry in client.get_model_repository_index()] == ["READY"]


class TestContract(TritonContract):
    pass


@pytest.mark.parametrize("up", [None, "gzip", "deflate"])
@pytest.mark.parametrize("down", [None, "gzip", "deflate"])
def test_compression(client: triton.InferenceServerClient, up: str | None, down: str | None) -> None:
    names = {"request_compression_algorithm": up, "response_compression_algorithm": down}
    assert winners(client.infer(MODEL, images(PIXELS), **names)) == [0, 1, 2]


def test_statistics(client: triton.InferenceServerClient) -> None:
    def read() -> dict[str, Any]:
        (entry,) = client.get_inference_statistics(MODEL)["model_stats"]
        return entry

    before = read()
    for _ in range(3):
        client.infer(MODEL, images())
    after = read()
    assert after["inference_count"] - before["inference_count"] == 9
    assert after["execution_count"] - before["execution_count"] == 3
    for name in ("success", "queue", "compute_infer"):
        assert after["inference_stats"][name]["count"] - before["inference_stats"][name]["count"] == 3
    assert after["inference_stats"]["success"]["ns"] > before["inference_stats"]["success"]["ns"]
    assert after["last_inference"] >= before["last_inference"]
    assert after["last_inference"] > 1_700_000_000_000
    assert 3 in [batch["batch_size"] for batch in after["batch_stats"]]


def test_refusals_say_what_was_expected(client: triton.InferenceServerClient) -> None:
    too_many = images(np.zeros((MAX_IMAGES + 1, 8, 8, 3), np.uint8))
    with pytest.raises(InferenceServerException, match="must hold 1 to 5 images, not 6"):
        client.infer(MODEL, too_many)
    with pytest.raises(InferenceServerException, match=r"`encoded`\[1\]: not a JPEG"):
        client.infer(MODEL, encoded(colour_png(0), b"no image"))
    with pytest.raises(InferenceServerException, match="manta deploy"):
        client.load_model(MODEL)
    shared = triton.InferInput("images", [3, 8, 8, 3], "UINT8")
    shared.set_shared_memory("region", 576)
    with pytest.raises(InferenceServerException, match="shared memory is not supported"):
        client.infer(MODEL, [shared])


async def test_the_asyncio_client(server: RunningServer) -> None:
    import tritonclient.http.aio as triton_aio

    async with triton_aio.InferenceServerClient(server.url.removeprefix("http://")) as client:
        tensor = triton_aio.InferInput("images", [3, 8, 8, 3], "UINT8")
        tensor.set_data_from_numpy(PIXELS)
        assert winners(await client.infer(MODEL, [tensor])) == [0, 1, 2]
