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
from tests.serve_deployments.test_tritonclient import MODEL, NAMES, PIXELS, encoded, images, output, winners

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


@pytest.mark.parametrize("send_binary", [True, False])
@pytest.mark.parametrize("get_binary", [True, False])
def test_infer(client: triton.InferenceServerClient, send_binary: bool, get_binary: bool) -> None:
    result = client.infer(MODEL, images(binary=send_binary), outputs=output(binary=get_binary), request_id="mine")
    assert winners(result) == [0, 1, 2]
    assert result.get_response()["id"] == "mine"
    assert result.get_output("probabilities")["shape"] == [3, 3]


def test_all_outputs_come_without_being_asked_for(client: triton.InferenceServerClient) -> None:
    assert winners(client.infer(MODEL, images(), model_version="1")) == [0, 1, 2]


@pytest.mark.parametrize("binary", [True, False])
def test_classification(client: triton.InferenceServerClient, binary: bool) -> None:
    texts = client.infer(MODEL, images(), outputs=output(binary=binary, classes=2)).as_numpy("probabilities")
    assert texts.shape == (3, 2)
    for index, row in enumerate(texts):
        value, place, label = (row[0].decode() if isinstance(row[0], bytes) else row[0]).split(":")
        assert (int(place), label) == (index, NAMES[index])
        assert float(value) > 0.99


def test_encoded_images_small_and_large(client: triton.InferenceServerClient) -> None:
    files = [colour_png(2), colour_png(0, 40, 30), colour_png(1, 500, 700)]
    assert winners(client.infer(MODEL, encoded(*files))) == [2, 0, 1]


def test_encoded_and_pixels_agree(client: triton.InferenceServerClient) -> None:
    by_pixels = client.infer(MODEL, images()).as_numpy("probabilities")
    by_files = client.infer(MODEL, encoded(*map(colour_png, range(3)))).as_numpy("probabilities")
    np.testing.assert_array_equal(by_pixels, by_files)


def test_many_at_once_each_get_their_own(client: triton.InferenceServerClient) -> None:
    order = [0, 2, 1, 1, 0, 2, 2, 0] * 10
    asked = [client.async_infer(MODEL, images(PIXELS[index : index + 1]), request_id=str(index)) for index in order]
    results = [request.get_result(timeout=30) for request in asked]
    assert [winners(result) for result in results] == [[index] for index in order]
    assert [result.get_response()["id"] for result in results] == list(map(str, order))


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
