"""The Open Inference Protocol: the same requests to the Python service and to the engine's server."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

from tests.engine.running import RunningServer
from tests.engine.same_answer import Sent, assert_the_same_answer, b64
from tests.serve_deployments.fakes import colour_png

INFER = "/v2/models/colours/infer"
RED, GREEN, BLUE = (colour_png(channel) for channel in range(3))
PIXELS = np.zeros((2, 8, 8, 3), np.uint8)
PIXELS[0, ..., 0] = PIXELS[1, ..., 2] = 255


def infer(*inputs: object, path: str = INFER, binary: bytes = b"", size: object = None, **values: object) -> Sent:
    """A request with these inputs; `size` is what the header says when it is not the truth."""
    head = json.dumps({"inputs": inputs, **values}).encode()
    headers = {"content-type": "application/json"}
    if binary or size is not None:
        headers["inference-header-content-length"] = str(len(head) if size is None else size)
    return "POST", path, headers, head + binary


def images(data: object = None, **changed: object) -> dict[str, object]:
    values = {"name": "images", "shape": [2, 8, 8, 3], "datatype": "UINT8", "data": data, **changed}
    return {name: value for name, value in values.items() if value is not None}


def files(*data: object, **changed: object) -> dict[str, object]:
    values = {"name": "encoded", "shape": [len(data)], "datatype": "BYTES", "data": list(data), **changed}
    return {name: value for name, value in values.items() if value is not None}


def of_size(size: object) -> dict[str, object]:
    return {"parameters": {"binary_data_size": size}}


def behind_length(*elements: bytes) -> bytes:
    return b"".join(len(element).to_bytes(4, "little") + element for element in elements)


def output(**parameters: object) -> dict[str, Any]:
    return {"outputs": [{"name": "probabilities", "parameters": parameters}]}


NESTED, FLAT, RAW = PIXELS.tolist(), PIXELS.ravel().tolist(), PIXELS.tobytes()
TWO_FILES = behind_length(RED, BLUE)
BODY = infer(images(FLAT))[3]
CODINGS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("GZIP", gzip.compress),
    ("deflate", zlib.compress),
]
GOOD: list[Sent] = [
    infer(images(FLAT, parameters={"binary_data_size": None})),
    *(("POST", INFER, {"content-encoding": name}, compress(BODY)) for name, compress in CODINGS),
    ("POST", INFER, {"content-encoding": "identity", "accept-encoding": "gzip;q=0, deflate"}, BODY),
    infer(images(NESTED)),
    infer(images(FLAT), id="mine"),
    infer(images(FLAT), id="large enough to be compressed " * 100),
    infer(images(FLAT), id=None, parameters=None, outputs=[]),
    infer(images([float(value) for value in FLAT])),
    infer(images(FLAT), path="/v2/models/colours/versions/1/infer"),
    infer(images(**of_size(len(RAW))), binary=RAW),
    infer(images(**of_size(len(RAW))), binary=RAW, **output(binary_data=True)),
    infer(images(**of_size(len(RAW))), binary=RAW, parameters={"binary_data_output": True}),
    infer(images(FLAT), parameters={"binary_data_output": True}, **output(binary_data=False)),
    infer(images(FLAT), **output(classification=2)),
    infer(images(FLAT), **output(classification=99, binary_data=True)),
    infer(images(FLAT), **output(classification=0)),
    infer(files(b64(RED), b64(GREEN), b64(BLUE))),
    infer(files(**of_size(len(TWO_FILES)), shape=[2], data=None), binary=TWO_FILES),
    infer(files(b64(RED)), parameters={"user_id": "ann", "unknown": 1}),
    infer(images(FLAT), size=len(json.dumps({"inputs": [images(FLAT)]}))),
]
BAD_INPUTS: list[object] = [
    None,
    3,
    {},
    {"name": "other"},
    {"name": 3},
    {"name": "x" * 300},
    {"name": "it's"},
    images(),
    images(FLAT, datatype="FP32"),
    images(FLAT, datatype=None),
    images(FLAT, datatype=3),
    images(FLAT, shape=None),
    images(FLAT, shape=3),
    images(FLAT, shape=[]),
    images(FLAT, shape=[2]),
    images(FLAT, shape=[2, 3, 8, 8]),
    images(FLAT, shape=[2.0, 8, 8, 3]),
    images(FLAT, shape=[0, 8, 8, 3]),
    images(FLAT, shape=[6, 8, 8, 3]),
    images(FLAT, shape=[-1, 8, 8, 3]),
    images(FLAT, shape=[1, 8, 8, 3]),
    images(FLAT, shape=[1] * 12),
    images(FLAT[:-1]),
    images(NESTED[:1]),
    images([NESTED[0], NESTED[1][:7]]),
    images([NESTED[0], 3]),
    images(3),
    images("x"),
    images([]),
    images([*FLAT[:-1], 256]),
    images([*FLAT[:-1], -1]),
    images([*FLAT[:-1], 1.5]),
    images([*FLAT[:-1], True]),
    images([*FLAT[:-1], "1"]),
    images([*FLAT[:-1], None]),
    images([*FLAT[:-1], []]),
    images(FLAT, parameters=3),
    images(FLAT, parameters={"shared_memory_region": "x"}),
    images(FLAT, **of_size(0)),
    images(FLAT, **of_size("x")),
    images(FLAT, **of_size(-1)),
    images(FLAT, **of_size(1.0)),
    images(**of_size(len(RAW))),
    files(),
    files("!"),
    files(3),
    files(""),
    files(b64(RED), b64(b"no image")),
    files(b64(RED), shape=[2]),
    files(b64(RED), datatype="UINT8"),
    files([b64(RED)]),
    files(b64(RED[:16] + (100_000).to_bytes(4) * 2 + RED[24:])),
]
BAD_PARAMETERS: list[dict[str, object]] = [
    {"binary_data": 1},
    {"binary_data": None},
    {"classification": -1},
    {"classification": 1.0},
    {"classification": "2"},
    {"classification": True},
    {"shared_memory_region": "x"},
]
BAD_OUTPUTS: list[object] = [
    3,
    [3],
    [{}],
    [{"name": "logits"}],
    [{"name": 3}],
    [{"name": "probabilities"}] * 2,
    [{"name": "probabilities", "parameters": 3}],
    *(output(**parameters)["outputs"] for parameters in BAD_PARAMETERS),
]
CUT = TWO_FILES[:-1]
MORE = TWO_FILES + b"x"
BAD: list[Sent] = [
    *(infer(each) for each in BAD_INPUTS),
    *(infer(images(FLAT), outputs=outputs) for outputs in BAD_OUTPUTS),
    infer(),
    infer(images(FLAT), images(FLAT)),
    infer(images(FLAT), id=3),
    infer(images(FLAT), parameters=[]),
    infer(images(FLAT), parameters={"binary_data_output": 1}),
    infer(images(FLAT), parameters={"user_id": ""}),
    infer(images(FLAT), parameters={"quality": 3}),
    infer(images(**of_size(len(RAW) - 1)), binary=RAW[:-1]),
    infer(images(**of_size(len(RAW) - 1)), binary=RAW),
    infer(images(FLAT), binary=b"x"),
    *(infer(images(FLAT), size=size) for size in (-1, "x", "1e2", "", 10**20, 0, 9)),
    infer(files(**of_size(len(CUT)), shape=[2], data=None), binary=CUT),
    infer(files(**of_size(len(MORE)), shape=[2], data=None), binary=MORE),
    infer(files(**of_size(len(TWO_FILES)), shape=[3], data=None), binary=TWO_FILES),
    infer(files(**of_size(3), shape=[1], data=None), binary=b"abc"),
    ("POST", INFER, {}, b""),
    ("POST", INFER, {}, b"[]"),
    ("POST", INFER, {}, b"{"),
    ("POST", INFER, {"content-encoding": "br"}, b"{}"),
    ("POST", INFER, {"content-encoding": "gzip"}, b"{}"),
    ("POST", INFER, {"content-encoding": "gzip"}, b""),
    ("POST", INFER, {"content-encoding": "gzip"}, gzip.compress(BODY)[:-5]),
    ("POST", INFER, {"content-encoding": "gzip"}, gzip.compress(BODY) + b"x"),
    ("POST", INFER, {"content-encoding": "gzip"}, gzip.compress(bytes(70_000))),
    ("POST", INFER, {"content-encoding": "deflate"}, gzip.compress(BODY)),
    infer(images(FLAT), path="/v2/models/other/infer"),
    infer(images(FLAT), path="/v2/models/colours/versions/2/infer"),
]
OTHERS: list[Sent] = [
    *(
        ("GET", path, {}, b"")
        for path in (
            "/v2",
            "/v2/",
            "/v2/health/live",
            "/v2/health/ready",
            "/v2/health/dead",
            "/v2/models",
            "/v2/models/stats",
            "/v2/models/colours",
            "/v2/models/colours/versions/1",
            "/v2/models/colours/versions/9",
            "/v2/models/it's",
            "/v2/models/colours/ready",
            "/v2/models/colours/versions/1/ready",
            "/v2/models/colours/config",
            "/v2/models/colours/stats",
            "/v2/models/colours/versions/1/stats",
            "/v2/models//config",
            "/v2/models/colours/infer",
            "/v2/repository/index",
            "/v2/logging",
        )
    ),
    *(("POST", "/v2/repository/index", {}, body) for body in (b"", b"{}", b'{"ready": true}', b'{"ready": 1}', b"[]")),
    *(("POST", f"/v2/repository/models/{name}", {}, b"") for name in ("colours/load", "other/unload", "x")),
    ("HEAD", "/v2/models/colours", {}, b""),
    ("POST", "/v2", {}, b""),
]


@pytest.mark.parametrize("sent", [*GOOD, *BAD, *OTHERS], ids=range(len(GOOD) + len(BAD) + len(OTHERS)))
async def test_the_same_answer_as_the_python_service(
    python_service: httpx.AsyncClient, server: RunningServer, sent: Sent
) -> None:
    await assert_the_same_answer(python_service, server.url, sent)


@pytest.mark.parametrize("sent", GOOD, ids=range(len(GOOD)))
def test_what_is_good_is_answered(server: RunningServer, sent: Sent) -> None:
    method, path, headers, body = sent
    assert httpx.request(method, server.url + path, headers=headers, content=body).status_code == 200


@pytest.mark.parametrize("sent", BAD, ids=range(len(BAD)))
def test_what_is_bad_is_refused(server: RunningServer, sent: Sent) -> None:
    method, path, headers, body = sent
    reply = httpx.request(method, server.url + path, headers=headers, content=body)
    assert 400 <= reply.status_code < 500
