"""Lines of the log: JSON, enough to find a request by, and nothing of its images."""

from __future__ import annotations

import base64
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import grpc  # type: ignore[import-untyped]
import httpx
import pytest
from ray._common.formatters import JSONFormatter
from starlette.requests import Request

from app.errors import ClusterError, Overloaded
from serve_deployments.grpc_api import GrpcApi
from serve_deployments.inference_messages import message
from serve_deployments.request_log import MOST_FAILURES_A_SECOND, RequestLog
from tests.serve_deployments.fakes import ColourPredictor, asgi, colour_png, http_api, http_client

RED = colour_png(0, 40, 30)
TEXT = base64.b64encode(RED).decode()
FIELDS = {"application": "router", "replica": "r-1"}


class Lines:
    """What Serve's JSON formatter writes of the service's logger."""

    def __init__(self) -> None:
        self._stream = io.StringIO()
        self.handler = logging.StreamHandler(self._stream)
        self.handler.setFormatter(JSONFormatter())

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    def read(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture
def lines() -> Iterator[Lines]:
    serve, lines = logging.getLogger("ray.serve"), Lines()
    before = serve.level
    serve.setLevel(logging.WARNING)  # as the Serve document has it
    serve.addHandler(lines.handler)
    yield lines
    serve.removeHandler(lines.handler)
    serve.setLevel(before)


async def ask_in_all_forms(client: httpx.AsyncClient) -> None:
    await client.post("/predict", content=RED, headers={"content-type": "image/png", "x-request-id": "mine-1"})
    await client.post("/predict", json={"image": TEXT})
    await client.post("/predict", json={"image": f"data:image/png;base64,{TEXT}"})
    await client.post("/predict", files={"file": (TEXT, RED)})
    await client.post("/predict/batch", json={"images": [{"image": TEXT}, {"image": "?"}]})
    tensor = {"name": "encoded", "datatype": "BYTES", "shape": [1], "data": [TEXT]}
    await client.post("/v2/models/colours/infer", json={"inputs": [tensor]})
    # The image where none belongs.
    await client.post("/predict", json={"image": RED.hex(), "quality": TEXT[:200]})
    await client.post("/predict", json={"image": "?", "user_id": TEXT})
    await client.post("/predict", content=RED[:-5], headers={"content-type": "image/png"})
    await client.post("/v2/models/colours/infer", json={"inputs": [{**tensor, "name": TEXT}]})
    await client.post("/v2/models/colours/infer", json={"id": TEXT, "inputs": [{**tensor, "datatype": TEXT}]})
    await client.post("/feedback", json={"request_id": "a", "label": TEXT})
    await client.get(f"/{TEXT}")
    await client.get(f"/v2/models/{base64.urlsafe_b64encode(RED).decode()}")
    await client.post("/predict", json={}, headers={"x-request-id": f"{TEXT}!"})


async def test_lines_are_json_without_image_data(predictor: ColourPredictor, lines: Lines) -> None:
    for failure in (None, ClusterError("no model"), RuntimeError("a defect")):
        predictor.failure = failure
        api = http_api(predictor, log=RequestLog(1.0, FIELDS))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(asgi(api)), base_url="http://manta") as client:
            await ask_in_all_forms(client)
    found = lines.read()
    assert len([line for line in found if "route" in line]) == 3 * 15
    for piece in range(0, len(TEXT) - 12, 4):
        assert TEXT[piece : piece + 12] not in lines.text
    assert RED.hex()[:24] not in lines.text


async def test_what_a_line_says(predictor: ColourPredictor, lines: Lines) -> None:
    api = http_api(predictor, log=RequestLog(1.0, FIELDS))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(asgi(api)), base_url="http://manta") as client:
        headers = {"content-type": "image/png", "x-request-id": "mine-1"}
        reply = await client.post("/predict?top_k=1", content=RED, headers=headers)
        assert reply.json()["request_id"] == "mine-1"
        predictor.failure = Overloaded("too much")
        refused = await client.post("/predict/batch", json={"images": [{"image": TEXT}]})
    answered, failed = lines.read()
    assert answered.pop("ms") > 0
    expected = {
        "message": "POST /predict 200",
        "levelname": "INFO",
        "request_id": "mine-1",
        "method": "POST",
        "route": "/predict",
        "status": 200,
        "version": "7",
        "arm": "champion",
        **FIELDS,
    }
    assert {name: answered[name] for name in expected} == expected
    assert "error" not in answered
    assert failed["request_id"] == refused.json()["request_id"] == refused.headers["x-request-id"]
    assert (failed["status"], failed["error"], failed["levelname"]) == (503, "Overloaded", "ERROR")
    assert "version" not in failed, "nobody answered"


async def test_only_failures_unless_asked(predictor: ColourPredictor, lines: Lines) -> None:
    async with http_client(predictor) as client:
        for _ in range(20):
            await client.post("/predict", content=RED, headers={"content-type": "image/png"})
        assert lines.read() == []
        await client.post("/predict", content=b"no image", headers={"content-type": "image/png"})
    (line,) = lines.read()
    assert (line["status"], line["error"], line["levelname"]) == (400, "BadImage", "WARNING")


class Context:
    """As much of Serve's gRPC context as a call takes."""

    def __init__(self) -> None:
        self.code: object = None
        self.details = ""
        self.trailing: list[tuple[str, str]] = [("request_id", "serves-own")]

    def invocation_metadata(self) -> list[tuple[str, str]]:
        return [("application", "router")]

    def trailing_metadata(self) -> list[tuple[str, str]]:
        return self.trailing

    def set_trailing_metadata(self, metadata: list[tuple[str, str]]) -> None:
        self.trailing = [*self.trailing, *metadata]

    def set_code(self, code: object) -> None:
        self.code = code

    def set_details(self, details: str) -> None:
        self.details = details


async def test_calls_over_grpc_have_the_same_lines(predictor: ColourPredictor, lines: Lines) -> None:
    api = GrpcApi(predictor, max_images=4, max_bytes=10_000, log=RequestLog(1.0, FIELDS))
    contents = message("InferTensorContents")(bytes_contents=[RED])
    tensor = message("ModelInferRequest").InferInputTensor
    encoded = tensor(name="encoded", datatype="BYTES", shape=[1], contents=contents)
    context: Any = Context()
    for failure in (None, Overloaded("too much"), RuntimeError("a defect")):
        predictor.failure = failure
        context = Context()
        await api.answer("ModelInfer", message("ModelInferRequest")(model_name="colours", inputs=[encoded]), context)
    assert context.trailing == [("request_id", "serves-own"), ("x-request-id", "serves-own")]
    assert (context.code, context.details) == (grpc.StatusCode.INTERNAL, "internal error")
    answered, refused, traceback, failed = lines.read()
    assert (answered["message"], answered["version"], answered["arm"]) == ("gRPC ModelInfer 200", "7", "champion")
    assert (refused["message"], refused["error"]) == ("gRPC ModelInfer 503", "Overloaded")
    assert traceback["message"] == "request serves-own failed"
    assert "RuntimeError: a defect" in traceback["exc_text"]
    assert (failed["message"], failed["error"], failed["request_id"]) == (
        "gRPC ModelInfer 500",
        "RuntimeError",
        "serves-own",
    )
    assert (failed["application"], failed["replica"]) == ("router", "r-1")
    assert predictor.counted == [("grpc ModelInfer", status) for status in (200, 503, 500)]


def note(log: RequestLog, status: int) -> None:
    request = Request({"type": "http", "method": "GET", "path": "/", "headers": []})
    log.note(request, "id", "/", status, 0.0)


def test_at_overload_lines_are_few_and_say_how_many_were_left_out(lines: Lines) -> None:
    now = 0.0
    log = RequestLog(clock=lambda: now)
    for _ in range(1000):
        note(log, 503)
    assert len(lines.read()) == MOST_FAILURES_A_SECOND
    now = 1.0
    note(log, 503)
    assert lines.read()[-1]["left_out"] == 1000 - MOST_FAILURES_A_SECOND
    note(log, 503)
    assert "left_out" not in lines.read()[-1]


def test_a_share_of_what_was_answered(lines: Lines) -> None:
    log = RequestLog(0.1)
    for _ in range(2000):
        note(log, 200)
    assert 100 < len(lines.read()) < 320, "200 of 2,000; 3 standard deviations are 40"
