"""The Open Inference Protocol byte by byte, as no client library would send it."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import ClusterError, MantaError, Overloaded
from app.imaging import decode
from serve_deployments.v2_tensors import bytes_from_binary, bytes_to_binary
from tests.serve_deployments.fakes import (
    MAX_BODIES_BYTES,
    MAX_BODY_BYTES,
    MAX_IMAGES,
    SIZE,
    ColourPredictor,
    colour_png,
    http_client,
)
from tests.serve_deployments.problems import assert_problem, json_values

INFER = "/v2/models/colours/infer"
FILES = [colour_png(channel) for channel in range(3)]
PIXELS = np.stack([decode(file) for file in FILES])
SHAPE = [3, SIZE, SIZE, 3]


def images(**changes: object) -> dict[str, Any]:
    """The tensor of three images as JSON, with changes; None takes a member out."""
    tensor = {"name": "images", "shape": SHAPE, "datatype": "UINT8", "data": PIXELS.ravel().tolist(), **changes}
    return {name: value for name, value in tensor.items() if value is not None}


def binary(data: bytes, **changes: object) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a request whose tensor follows the JSON."""
    tensor = images(**{"data": None, "parameters": {"binary_data_size": len(data)}, **changes})
    head = json.dumps({"inputs": [tensor]}).encode()
    return head + data, {"Inference-Header-Content-Length": str(len(head))}


async def infer(client: httpx.AsyncClient, tensor: object = None, **members: object) -> httpx.Response:
    return await client.post(INFER, json={"inputs": [images() if tensor is None else tensor], **members})


def winners(reply: httpx.Response) -> list[int]:
    assert reply.status_code == 200, reply.text
    (output,) = reply.json()["outputs"]
    assert output["datatype"] == "FP32"
    return [int(row) for row in np.reshape(output["data"], output["shape"]).argmax(1)]


async def test_json_in_and_out(client: httpx.AsyncClient, predictor: ColourPredictor) -> None:
    reply = await infer(client, id="mine")
    assert winners(reply) == [0, 1, 2]
    body = reply.json()
    request_id = reply.headers["x-request-id"]
    assert (body["model_name"], body["model_version"], body["id"]) == ("colours", "7", "mine")
    assert body["parameters"] == {"request_id": request_id}
    assert predictor.callers[0].request_id == request_id
    assert body["outputs"][0]["name"] == "probabilities"
    assert "id" not in (await infer(client)).json()


async def test_nested_data(client: httpx.AsyncClient) -> None:
    assert winners(await infer(client, images(data=PIXELS.tolist()))) == [0, 1, 2]


async def test_binary_in_and_out(client: httpx.AsyncClient, predictor: ColourPredictor) -> None:
    head = json.dumps(
        {
            "inputs": [images(data=None, parameters={"binary_data_size": PIXELS.nbytes})],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    reply = await client.post(INFER, content=head + PIXELS.tobytes(), headers=headers)
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/octet-stream"
    size = int(reply.headers["inference-header-content-length"])
    (output,) = json.loads(reply.content[:size])["outputs"]
    assert output["parameters"] == {"binary_data_size": 3 * 3 * 4}
    assert "data" not in output
    np.testing.assert_array_equal(np.frombuffer(reply.content[size:], "<f4").reshape(3, 3), np.eye(3))
    (pixels,) = predictor.pixels
    np.testing.assert_array_equal(pixels, PIXELS)
    assert pixels.base is not None  # a view of the body, not a copy


@pytest.mark.parametrize("wanted", [True, False])
async def test_an_outputs_own_word_counts(client: httpx.AsyncClient, wanted: bool) -> None:
    outputs = [{"name": "probabilities", "parameters": {"binary_data": wanted}}]
    reply = await infer(client, outputs=outputs, parameters={"binary_data_output": not wanted})
    assert ("inference-header-content-length" in reply.headers) is wanted


@pytest.mark.parametrize(("asked", "columns"), [(1, 1), (2, 2), (3, 3), (99, 3), (2**63, 3)])
async def test_classification(client: httpx.AsyncClient, asked: int, columns: int) -> None:
    outputs = [{"name": "probabilities", "parameters": {"classification": asked}}]
    (output,) = (await infer(client, outputs=outputs)).json()["outputs"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [3, columns])
    assert output["data"][::columns] == ["1.000000:0:red", "1.000000:1:green", "1.000000:2:blue"]
    outputs[0]["parameters"]["binary_data"] = True  # type: ignore[index]
    reply = await infer(client, outputs=outputs)
    size = int(reply.headers["inference-header-content-length"])
    elements = bytes_from_binary(memoryview(reply.content)[size:], 3 * columns, "probabilities")
    assert [element.decode() for element in elements] == output["data"]


async def test_encoded_images_in_binary_and_in_base64(client: httpx.AsyncClient) -> None:
    files = [colour_png(2, 30, 40), *FILES]
    body, headers = binary(bytes_to_binary(files), name="encoded", datatype="BYTES", shape=[4])
    assert winners(await client.post(INFER, content=body, headers=headers)) == [2, 0, 1, 2]
    texts = [base64.b64encode(file).decode() for file in files]
    texts[1] = f"data:image/png;base64,{texts[1]}"
    tensor = {"name": "encoded", "shape": [4], "datatype": "BYTES", "data": texts}
    assert winners(await infer(client, tensor)) == [2, 0, 1, 2]


@pytest.mark.parametrize("bad", [b"", b"no image", FILES[0][:-20]])
async def test_a_broken_encoded_image_is_named(client: httpx.AsyncClient, bad: bytes) -> None:
    body, headers = binary(bytes_to_binary([FILES[0], FILES[1], bad]), name="encoded", datatype="BYTES", shape=[3])
    assert_problem(await client.post(INFER, content=body, headers=headers), 400, "`encoded`[2]: ")
    data = [base64.b64encode(file).decode() for file in (bad, *FILES[:2])]
    tensor = {"name": "encoded", "shape": [3], "datatype": "BYTES", "data": data}
    assert_problem(await infer(client, tensor), 400, "`encoded`[0]: ")


async def test_an_encoded_image_with_too_many_pixels_is_413(client: httpx.AsyncClient) -> None:
    bomb = bytearray(FILES[0])
    bomb[16:24] = (100_000).to_bytes(4) * 2  # the size in IHDR
    body, headers = binary(bytes_to_binary([bytes(bomb)]), name="encoded", datatype="BYTES", shape=[1])
    assert_problem(await client.post(INFER, content=body, headers=headers), 413, "`encoded`[0]")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": None}, "there is no input null: give `images` (UINT8) or `encoded` (BYTES)"),
        ({"name": "input"}, "there is no input 'input'"),
        ({"name": ["images"]}, "there is no input a list"),
        ({"datatype": "FP32"}, "`images` must have datatype UINT8, not 'FP32'"),
        ({"datatype": None}, "must have datatype UINT8, not null"),
        ({"datatype": 3}, "must have datatype UINT8"),
        ({"shape": None}, "must have shape [-1, 8, 8, 3]"),
        ({"shape": [3, 3, SIZE, SIZE]}, "must have shape [-1, 8, 8, 3]"),
        ({"shape": [1, SIZE, SIZE, 3]}, "has 192 values, not 576"),
        ({"shape": [0, SIZE, SIZE, 3], "data": [0]}, f"1 to {MAX_IMAGES} images, not 0"),
        ({"shape": [MAX_IMAGES + 1, SIZE, SIZE, 3]}, f"1 to {MAX_IMAGES} images, not {MAX_IMAGES + 1}"),
        ({"data": None}, "must have either `data` or the parameter `binary_data_size`"),
        ({"data": []}, "has 576 values, not 0"),
        ({"data": "text"}, "must be a list, not text"),
        ({"data": [256] * 576}, "whole numbers from 0 to 255, got 256"),
        ({"data": [1.5] * 576}, "whole numbers from 0 to 255, got 1.5"),
        ({"data": [True] * 576}, "not a boolean"),
        ({"parameters": []}, "`parameters` of input `images` must be an object"),
        ({"parameters": {"binary_data_size": 576}}, "either `data` or"),
        ({"data": None, "parameters": {"binary_data_size": "576"}}, "must be a number of bytes"),
        ({"data": None, "parameters": {"binary_data_size": -1}}, "must be a number of bytes"),
        ({"data": None, "parameters": {"binary_data_size": True}}, "must be a number of bytes"),
        ({"data": None, "parameters": {"binary_data_size": 576}}, "but 0 follow the JSON"),
        ({"data": None, "parameters": {"shared_memory_region": "x"}}, "shared memory is not supported"),
        ({"name": "encoded"}, "`encoded` must have datatype BYTES"),
        ({"name": "encoded", "datatype": "BYTES"}, "must have shape [-1]"),
        ({"name": "encoded", "datatype": "BYTES", "shape": [1], "data": [3]}, "base64 text, not a number"),
        ({"name": "encoded", "datatype": "BYTES", "shape": [1], "data": ["!"]}, "`encoded`[0]: `image` is not base64"),
        ({"name": "encoded", "datatype": "BYTES", "shape": [2], "data": ["aGVsbG8="]}, "has 2 values, not 1"),
    ],
)
async def test_bad_inputs(client: httpx.AsyncClient, changes: dict[str, object], message: str) -> None:
    assert_problem(await infer(client, images(**changes)), 400, message)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"inputs": None}, "one tensor"),
        ({"inputs": []}, "one tensor"),
        ({"inputs": {}}, "one tensor"),
        ({"inputs": [images(), images()]}, "one tensor"),
        ({"inputs": [images(), images(name="encoded")]}, "one tensor, either `images` (UINT8) or `encoded` (BYTES)"),
        ({"inputs": ["images"]}, "must be an object, not text"),
        ({"id": 3}, "`id` must be text"),
        ({"parameters": []}, "`parameters` of the request must be an object"),
        ({"parameters": {"binary_data_output": "yes"}}, "`binary_data_output` must be true or false"),
        ({"parameters": {"user_id": 3}}, "`user_id` must be text"),
        ({"parameters": {"quality": 3}}, "`quality` must be text"),
        ({"outputs": {}}, "`outputs` must be a list"),
        ({"outputs": ["probabilities"]}, "`outputs` must be a list"),
        ({"outputs": [{}]}, "there is no output null: there is `probabilities`"),
        ({"outputs": [{"name": "logits"}]}, "there is no output 'logits': there is `probabilities`"),
        ({"outputs": [{"name": "probabilities"}, {"name": "probabilities"}]}, "asked for 2 times"),
        ({"outputs": [{"name": "probabilities", "parameters": {"classification": "3"}}]}, "number of classes"),
        ({"outputs": [{"name": "probabilities", "parameters": {"classification": -1}}]}, "number of classes"),
        ({"outputs": [{"name": "probabilities", "parameters": {"classification": True}}]}, "number of classes"),
        ({"outputs": [{"name": "probabilities", "parameters": {"binary_data": 1}}]}, "`binary_data` must be true"),
        ({"outputs": [{"name": "probabilities", "parameters": {"shared_memory_region": "x"}}]}, "shared memory"),
    ],
)
async def test_bad_requests(client: httpx.AsyncClient, members: dict[str, object], message: str) -> None:
    assert_problem(await client.post(INFER, json={"inputs": [images()], **members}), 400, message)


@pytest.mark.parametrize(
    ("length", "message"),
    [("x", "size of the JSON"), ("-1", "size of the JSON"), ("99999", "size of the JSON"), ("1" * 5000, "size"),
     ("", "size of the JSON"), ("0", "empty"), ("5", "not JSON")],
)  # fmt: skip
async def test_bad_header_lengths(client: httpx.AsyncClient, length: str, message: str) -> None:
    body, _ = binary(PIXELS.tobytes())
    headers = {"Inference-Header-Content-Length": length}
    assert_problem(await client.post(INFER, content=body, headers=headers), 400, message)


async def test_binary_data_of_another_size(client: httpx.AsyncClient) -> None:
    body, headers = binary(PIXELS.tobytes())
    for wrong in (body[:-1], body + b"x"):
        assert_problem(await client.post(INFER, content=wrong, headers=headers), 400, "follow the JSON")
    body, headers = binary(PIXELS.tobytes(), shape=[2, SIZE, SIZE, 3])
    assert_problem(await client.post(INFER, content=body, headers=headers), 400, "has 384 bytes, not 576")
    body, headers = binary(PIXELS.tobytes())
    assert_problem(await client.post(INFER, content=body), 400, "not JSON")


@pytest.mark.parametrize(
    "data", [b"", b"\x05\x00\x00\x00abc", b"\xff\xff\xff\xffabc", bytes_to_binary(FILES[:1]) + b"x", b"\x00"]
)
async def test_bad_bytes_tensors(client: httpx.AsyncClient, data: bytes) -> None:
    body, headers = binary(data, name="encoded", datatype="BYTES", shape=[1])
    assert_problem(await client.post(INFER, content=body, headers=headers), 400, "encoded")


@pytest.mark.parametrize(
    "path",
    [
        "/v2/models/other",
        "/v2/models/other/ready",
        "/v2/models/other/config",
        "/v2/models/other/stats",
        "/v2/models/other/infer",
        "/v2/models/other/versions/7/infer",
        "/v2/models/colours/versions/9",
        "/v2/models/colours/versions/9/ready",
        "/v2/models/colours/versions/9/infer",
    ],
)
async def test_unknown_models_and_versions(client: httpx.AsyncClient, predictor: ColourPredictor, path: str) -> None:
    method = "POST" if path.endswith("infer") else "GET"
    known = "the one deployed is 'colours'" if "other" in path else "no version '9' deployed (it has: 7, 8)"
    assert_problem(await client.request(method, path, json={"inputs": [images()]}), 404, known)
    predictor.deployed = False
    assert_problem(await client.request(method, path, json={"inputs": [images()]}), 503, "no model is deployed yet")


@pytest.mark.parametrize("path", ["/v2/", "/v2/models", "/v2/models/colours/", "/v2/models/colours/x", "/v2/logging"])
async def test_unknown_routes(client: httpx.AsyncClient, path: str) -> None:
    assert_problem(await client.get(path), 404, "no route")


async def test_what_is_served(client: httpx.AsyncClient) -> None:
    server = (await client.get("/v2")).json()
    assert server["name"] == "manta"
    assert {"binary_tensor_data", "classification", "statistics", "model_configuration"} <= set(server["extensions"])
    metadata = (await client.get("/v2/models/colours")).json()
    assert metadata["versions"] == ["7", "8"]
    assert metadata["platform"] == "onnxruntime_onnx"
    assert metadata["inputs"] == [{"name": "images", "datatype": "UINT8", "shape": [-1, 8, 8, 3]}]
    assert metadata["outputs"] == [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]}]
    assert metadata["parameters"]["labels"] == ["red", "green", "blue"]
    assert metadata["parameters"]["alternative_inputs"][0]["name"] == "encoded"
    config = (await client.get("/v2/models/colours/config")).json()
    assert config["max_batch_size"] == MAX_IMAGES
    assert config["input"][0] | {"name": "images", "data_type": "TYPE_UINT8", "dims": [8, 8, 3]} == config["input"][0]
    assert config["output"][0]["dims"] == [3]
    assert json.loads(config["parameters"]["labels"]["string_value"]) == ["red", "green", "blue"]


async def test_readiness(client: httpx.AsyncClient, predictor: ColourPredictor) -> None:
    assert (await client.get("/v2/health/live")).json() == {"live": True}
    assert (await client.get("/v2/health/ready")).json() == {"ready": True}
    assert (await client.get("/v2/models/colours/ready")).json() == {"name": "colours", "ready": True}
    assert_problem(await client.get("/v2/models/colours/versions/8/ready"), 503, "no replica of version 8 runs")
    predictor.not_ready = "no replica of version 7 runs"
    assert_problem(await client.get("/v2/health/ready"), 503, "no replica of version 7")


async def test_repository(client: httpx.AsyncClient) -> None:
    ready = {"name": "colours", "version": "7", "state": "READY", "reason": ""}
    missing = {"name": "colours", "version": "8", "state": "UNAVAILABLE", "reason": "no replica of version 8 runs"}
    index = "/v2/repository/index"
    assert (await client.post(index)).json() == [ready, missing]
    assert (await client.post(index, json={"ready": True})).json() == [ready]
    assert_problem(await client.post(index, json={"ready": 1}), 400, "`ready` must be true or false")
    assert_problem(await client.post(index, json=[]), 400, "object")
    assert_problem(await client.post("/v2/repository/models/colours/load"), 403, "manta deploy")
    assert_problem(await client.post("/v2/repository/models/colours/unload"), 403, "manta undeploy")


async def test_who_asks(client: httpx.AsyncClient, predictor: ColourPredictor) -> None:
    await infer(client)
    await client.post(INFER, json={"inputs": [images()]}, headers={"X-User-Id": "ann"})
    await infer(client, parameters={"user_id": "bob"})
    await client.post("/v2/models/colours/versions/7/infer", json={"inputs": [images()]})
    pin = {"X-Model-Version": "8"}
    await client.post(INFER, json={"inputs": [images()]}, headers=pin)
    await client.post("/v2/models/colours/versions/7/infer", json={"inputs": [images()]}, headers=pin)
    assert [(caller.user_id, caller.version) for caller in predictor.callers] == [
        (None, None),
        ("ann", None),
        ("bob", None),
        (None, "7"),
        (None, "8"),
        (None, "7"),
    ]
    reply = await client.post(INFER, json={"inputs": [images()]}, headers={"X-User-Id": "x" * 257})
    assert_problem(reply, 400, "x-user-id")


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (Overloaded("1024 images are waiting"), 503),
        (ClusterError("gone"), 503),
        (TimeoutError(), 504),
        (MantaError("something inside, at /secret/path"), 500),
        (ZeroDivisionError("secret"), 500),
    ],
)
async def test_failures(client: httpx.AsyncClient, predictor: ColourPredictor, failure: Exception, status: int) -> None:
    predictor.failure = failure
    reply = await infer(client)
    assert_problem(reply, status)
    assert "secret" not in reply.text


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("GZIP", gzip.compress)]
)
async def test_compressed_requests(client: httpx.AsyncClient, encoding: str, pack: Any) -> None:
    body, headers = binary(PIXELS.tobytes())
    headers["Content-Encoding"] = encoding
    assert winners(await client.post(INFER, content=pack(body), headers=headers)) == [0, 1, 2]
    assert_problem(await client.post(INFER, content=body, headers=headers), 400, "the body is not")
    bomb = pack(bytes(MAX_BODY_BYTES + 1))
    assert_problem(await client.post(INFER, content=bomb, headers=headers), 413, "larger than the limit")


async def test_an_unknown_compression(client: httpx.AsyncClient) -> None:
    assert_problem(await client.post(INFER, content=b"x", headers={"Content-Encoding": "br"}), 415, "gzip, deflate")


async def test_inflated_bodies_are_given_back(client: httpx.AsyncClient) -> None:
    """Many of them one after the other: what each held is free again when it is answered."""
    noise = np.random.default_rng(0).bytes(MAX_BODY_BYTES // 4).hex()  # hardly smaller when packed
    body = json.dumps({"inputs": [images()], "id": noise}).encode()
    for _ in range(4 * MAX_BODIES_BYTES // len(body)):
        reply = await client.post(INFER, content=gzip.compress(body), headers={"Content-Encoding": "gzip"})
        assert reply.status_code == 200


async def test_large_answers_are_compressed_when_asked(client: httpx.AsyncClient) -> None:
    """Five images with three classes are small, so JSON with classes as text is asked for."""
    tensor = images(shape=[5, SIZE, SIZE, 3], data=[7] * (5 * 192))
    wanted = {"inputs": [tensor], "id": "x" * 2000}
    plain = await client.post(INFER, json=wanted, headers={"Accept-Encoding": "identity"})
    packed = await client.post(INFER, json=wanted, headers={"Accept-Encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < len(plain.content)
    assert packed.json()["outputs"] == plain.json()["outputs"]
    small = await infer(client)
    assert "content-encoding" not in small.headers


tensors = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["images", "encoded"]) | json_values,
        "datatype": st.sampled_from(["UINT8", "BYTES"]) | json_values,
        "shape": st.sampled_from([[1], [1, 8, 8, 3]]) | json_values,
        "data": json_values,
        "parameters": st.fixed_dictionaries({}, optional={"binary_data_size": json_values}) | json_values,
    },
)
outputs = st.fixed_dictionaries({"name": st.just("probabilities")}, optional={"parameters": json_values})
requests = st.fixed_dictionaries(
    {},
    optional={
        "id": json_values,
        "inputs": st.lists(tensors, min_size=1, max_size=2) | json_values,
        "outputs": st.lists(outputs) | json_values,
        "parameters": json_values,
    },
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=requests | json_values, tail=st.binary(max_size=20), cut=st.integers(-3, 3))
async def test_no_request_at_all_is_a_server_error(
    predictor: ColourPredictor, body: object, tail: bytes, cut: int
) -> None:
    head = json.dumps(body).encode()
    async with http_client(predictor) as client:
        for headers in ({}, {"Inference-Header-Content-Length": str(len(head) + cut)}):
            reply = await client.post(INFER, content=head + tail, headers=headers)
            assert reply.status_code == 400, reply.text
            assert reply.json()["error"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=300), encoding=st.sampled_from(["identity", "gzip", "deflate"]))
async def test_no_bytes_at_all_are_a_server_error(predictor: ColourPredictor, body: bytes, encoding: str) -> None:
    async with http_client(predictor) as client:
        reply = await client.post(INFER, content=body, headers={"Content-Encoding": encoding})
        assert reply.status_code == 400
        reply = await client.post("/v2/repository/index", content=body, headers={"Content-Encoding": encoding})
    assert reply.status_code == 400 if body or encoding != "identity" else reply.status_code == 200
