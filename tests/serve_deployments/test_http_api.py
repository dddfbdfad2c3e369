"""Every route and every kind of bad input, without a cluster."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import BodyTooLarge, ClusterError, MantaError, Overloaded
from serve_deployments.problem import TITLES
from serve_deployments.request_body import MAX_JSON_VALUES, read_object
from tests.serve_deployments.fakes import (
    MAX_BODIES_BYTES,
    MAX_BODY_BYTES,
    MAX_IMAGES,
    ColourPredictor,
    colour_png,
    http_client,
)
from tests.serve_deployments.problems import assert_problem, json_values

RED, GREEN, BLUE = (colour_png(channel) for channel in range(3))


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def names(predictions: list[dict[str, Any]]) -> list[str]:
    return [prediction["class_name"] for prediction in predictions]


def test_titles_of_errors_are_those_of_the_engine() -> None:
    """Whatever Python calls them: its names change from version to version."""
    code = (Path(__file__).parents[2] / "engine" / "server" / "problem.cpp").read_text(encoding="utf-8")
    engine = {int(status): title for status, title in re.findall(r'case (\d+):\s+return "(.+?)";', code)}
    both = TITLES.keys() & engine.keys()
    assert {status: TITLES[status] for status in both} == {status: engine[status] for status in both}
    assert {400, 403, 404, 405, 413, 415, 500, 503, 504} <= both


async def test_predict_json(client: httpx.AsyncClient) -> None:
    reply = await client.post("/predict", json={"image": b64(GREEN), "top_k": 2})
    body = reply.json()
    assert reply.status_code == 200
    assert body["predictions"][0] == {"class_id": 1, "class_name": "green", "confidence": 1.0}
    assert len(body["predictions"]) == 2
    assert body["model_version"] == "7"
    assert body["image_shape"] == [8, 8, 3]
    assert body["inference_time_ms"] >= 0
    assert body["request_id"] == reply.headers["x-request-id"]


@pytest.mark.parametrize(
    "text",
    [
        b64(BLUE),
        f"data:image/png;base64,{b64(BLUE)}",
        f"DATA:image/png;charset=utf-8;BASE64,{b64(BLUE)}",
        base64.encodebytes(BLUE * 1).decode(),  # wrapped, as `base64 FILE` prints it
    ],
)
async def test_base64_in_its_usual_clothes(client: httpx.AsyncClient, text: str) -> None:
    reply = await client.post("/predict", json={"image": text})
    assert names(reply.json()["predictions"])[0] == "blue"


@pytest.mark.parametrize("kind", ["image/png", "image/anything", "application/octet-stream", "Image/PNG; q=1"])
async def test_predict_raw(client: httpx.AsyncClient, kind: str) -> None:
    reply = await client.post("/predict?top_k=1", content=RED, headers={"content-type": kind})
    assert names(reply.json()["predictions"]) == ["red"]


async def test_predict_multipart(client: httpx.AsyncClient) -> None:
    reply = await client.post("/predict", files={"file": ("red.png", RED)}, data={"top_k": "1", "user_id": "ann"})
    assert names(reply.json()["predictions"]) == ["red"]
    reply = await client.post("/predict?top_k=2", files={"image": ("blue.png", BLUE)})
    assert names(reply.json()["predictions"]) == ["blue", "red"]


async def test_the_shape_is_the_sent_images_own(client: httpx.AsyncClient) -> None:
    large = colour_png(0, height=120, width=200)  # beyond the inline limit: decoded in a thread
    reply = await client.post("/predict", content=large, headers={"content-type": "image/png"})
    assert reply.json()["image_shape"] == [120, 200, 3]


@pytest.mark.parametrize(("top_k", "count"), [(1, 1), (3, 3), (99, 3), (10**30, 3), (2.0, 2), (None, 3)])
async def test_top_k(client: httpx.AsyncClient, top_k: float | None, count: int) -> None:
    body = {"image": b64(RED)} if top_k is None else {"image": b64(RED), "top_k": top_k}
    assert len((await client.post("/predict", json=body)).json()["predictions"]) == count


@pytest.mark.parametrize("top_k", [0, -1, "x", "3", 1.5, True, None, [], {}, -(10**30)])
async def test_bad_top_k(client: httpx.AsyncClient, top_k: object) -> None:
    assert_problem(await client.post("/predict", json={"image": b64(RED), "top_k": top_k}), 400, "top_k")
    assert_problem(await client.post("/predict/batch", json={"images": [{"image": b64(RED)}], "top_k": top_k}), 400)


@pytest.mark.parametrize("top_k", ["0", "-1", "x", "1.5", "", "true", "1_0", " 1", "9" * 5000, "٣"])
async def test_bad_top_k_in_the_query(client: httpx.AsyncClient, top_k: str) -> None:
    raw = {"content": RED, "headers": {"content-type": "image/png"}}
    assert_problem(await client.post("/predict", params={"top_k": top_k}, **raw), 400, "top_k")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "empty"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b'{"image": NaN}', "not JSON"),
        (b"[" * 5000, "not JSON"),
        (b"[]", "object"),
        (b"3", "object"),
        (b"null", "object"),
        (b"{}", "`image` is missing"),
        (b'{"image": null}', "base64"),
        (b'{"image": 3}', "base64"),
        (b'{"image": ["a"]}', "base64"),
        (b'{"image": ""}', "empty"),
        (b'{"image": "data:image/png;base64,"}', "empty"),
        (b'{"image": "data:image/png,abc"}', "data: URL"),
        (b'{"image": "not base64!"}', "not base64"),
        (b'{"image": "abcde"}', "not base64"),
        ('{"image": "ä"}'.encode(), "not base64"),
        (b'{"image": "aGVsbG8="}', "not a JPEG"),
        (b'{"image": "aGVsbG8=", "user_id": 3}', "user_id"),
        (b'{"image": "aGVsbG8=", "user_id": ""}', "user_id"),
    ],
)
async def test_bad_json(client: httpx.AsyncClient, body: bytes, text: str) -> None:
    reply = await client.post("/predict", content=body, headers={"content-type": "application/json"})
    assert_problem(reply, 400, text)


def test_json_of_too_many_values_is_refused_before_it_is_parsed() -> None:
    """One long text is fine; a million parts, however they are nested, would hold up everybody."""
    assert read_object(b'{"image": "' + b"A" * (2 * MAX_JSON_VALUES) + b'"}')
    assert read_object(b'{"image": [' + b"1," * (MAX_JSON_VALUES - 10) + b"1]}")
    for part in (b"1,", b"[],", b"{},", b"[[[[]]]],"):
        with pytest.raises(BodyTooLarge, match="1,000,000 values"):
            read_object(b'{"image": [' + part * MAX_JSON_VALUES + b"1]}")


@pytest.mark.parametrize("data", [b"", b"not an image", RED[:40], RED[:-20], b"\x89PNG\r\n\x1a\n"])
async def test_bad_raw_images(client: httpx.AsyncClient, data: bytes) -> None:
    assert_problem(await client.post("/predict", content=data, headers={"content-type": "image/png"}), 400)


async def test_an_image_with_too_many_pixels_is_413(client: httpx.AsyncClient) -> None:
    bomb = bytearray(RED)
    bomb[16:24] = (100_000).to_bytes(4) * 2  # the size in IHDR
    assert_problem(await client.post("/predict", json={"image": b64(bytes(bomb))}), 413, "pixels")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "video/mp4", "", "json"])
async def test_unknown_content_types(client: httpx.AsyncClient, kind: str) -> None:
    assert_problem(await client.post("/predict", content=RED, headers={"content-type": kind}), 415, "application/json")


async def test_unsupported_content(client: httpx.AsyncClient) -> None:
    assert_problem(await client.post("/predict", content=RED), 415)
    assert_problem(await client.post("/predict/batch", content=RED, headers={"content-type": "image/png"}), 415)
    packed = {"content-type": "application/json", "content-encoding": "gzip"}
    assert_problem(await client.post("/predict", content=RED, headers=packed), 415, "gzip")


MULTIPART = {"content-type": "multipart/form-data; boundary=x"}
FIELD = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n'


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"content-type": "multipart/form-data"}, b"--x\r\n\r\n--x--"),
        (MULTIPART, b""),
        (MULTIPART, b"nonsense"),
        (MULTIPART, FIELD + b"1\r\n--x--\r\n"),
        (MULTIPART, b'--x\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n\r\n--x--\r\n'),
        (MULTIPART, b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--\r\n"),
        ({"content-type": "multipart/form-data; boundary=x; charset=zzz"}, FIELD + b"\xff\r\n--x--\r\n"),
    ],
)
async def test_bad_multipart(client: httpx.AsyncClient, headers: dict[str, str], body: bytes) -> None:
    assert_problem(await client.post("/predict", content=body, headers=headers), 400)


async def test_two_files_are_one_too_many(client: httpx.AsyncClient) -> None:
    reply = await client.post("/predict", files={"a": ("a.png", RED), "b": ("b.png", BLUE)})
    assert_problem(reply, 400, "one file")


async def test_batch_keeps_order_and_place(client: httpx.AsyncClient) -> None:
    """A bad image of any kind is an entry with an error; the others are not shifted."""
    images = [{"image": b64(RED)}, {"image": "!"}, 7, {"image": b64(b"no image")}, {"image": b64(BLUE)}]
    reply = await client.post("/predict/batch", json={"images": images, "top_k": 1})
    assert reply.status_code == 200
    body = reply.json()
    entries = body["batch_predictions"]
    assert [entry["image_index"] for entry in entries] == [0, 1, 2, 3, 4]
    assert [names(entry["predictions"]) if "predictions" in entry else None for entry in entries] == [
        ["red"],
        None,
        None,
        None,
        ["blue"],
    ]
    assert [bool(entry.get("error")) for entry in entries] == [False, True, True, True, False]
    assert body["num_images"] == 5
    assert body["average_time_per_image_ms"] == pytest.approx(body["total_inference_time_ms"] / 5, abs=1e-3)


@pytest.mark.parametrize(
    "item", [None, 3, "text", [], {}, {"image": 3}, {"image": None}, {"Image": "x"}, True, 1.5, {"image": ""}]
)
async def test_bad_items_of_a_batch(client: httpx.AsyncClient, item: object) -> None:
    reply = await client.post("/predict/batch", json={"images": [item, {"image": b64(GREEN)}]})
    bad, good = reply.json()["batch_predictions"]
    assert (bad["image_index"], good["image_index"]) == (0, 1)
    assert bad["error"]
    assert names(good["predictions"])[0] == "green"


async def test_a_batch_of_only_bad_images(client: httpx.AsyncClient) -> None:
    reply = await client.post("/predict/batch", json={"images": [3]})
    assert reply.status_code == 200
    assert "error" in reply.json()["batch_predictions"][0]


@pytest.mark.parametrize("images", [None, 3, "x", {}, [], [{"image": ""}] * (MAX_IMAGES + 1)])
async def test_bad_batches(client: httpx.AsyncClient, images: object) -> None:
    assert_problem(await client.post("/predict/batch", json={"images": images}), 400, "images")


async def test_a_body_that_says_it_is_too_large(client: httpx.AsyncClient) -> None:
    headers = {"content-type": "application/octet-stream", "content-length": str(MAX_BODY_BYTES + 1)}
    assert_problem(await client.post("/predict", content=b"", headers=headers), 413)
    headers["content-length"] = "9" * 400
    assert_problem(await client.post("/predict", content=b"", headers=headers), 413)


async def test_a_body_that_grows_too_large(client: httpx.AsyncClient) -> None:
    """Without a length it is counted while it comes, and not read to its end."""
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 16 * 1024
            assert sent < 10 * MAX_BODY_BYTES
            yield b"x" * 16 * 1024

    reply = await client.post("/predict", content=endless(), headers={"content-type": "image/png"})
    assert_problem(reply, 413)


async def test_bodies_share_the_memory(client: httpx.AsyncClient) -> None:
    """Slow uploads hold what they sent; one more is refused, and there is room again when they end."""
    more = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"x" * (MAX_BODY_BYTES - 100)
        await more.wait()
        yield b"x"

    def post(content: AsyncIterator[bytes] | bytes) -> Coroutine[Any, Any, httpx.Response]:
        return client.post("/predict", content=content, headers={"content-type": "image/png"})

    slow_ones = [asyncio.create_task(post(slow())) for _ in range(MAX_BODIES_BYTES // MAX_BODY_BYTES)]
    await asyncio.sleep(0)
    refused = asyncio.create_task(post(b"x" * 1000))
    assert_problem(await refused, 503, "large requests")
    more.set()
    assert [reply.status_code for reply in await asyncio.gather(*slow_ones)] == [400] * len(slow_ones)
    assert (await post(RED)).status_code == 200


@pytest.mark.parametrize("path", ["/", "/nope", "/predict/", "/Predict", "/predict/batch/x", "/%00", "//predict"])
async def test_unknown_routes(client: httpx.AsyncClient, path: str) -> None:
    assert_problem(await client.get(f"http://manta{path}"), 404)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/predict", "POST"),
        ("PUT", "/predict", "POST"),
        ("OPTIONS", "/predict/batch", "POST"),
        ("POST", "/health", "GET, HEAD"),
        ("DELETE", "/model/info", "GET, HEAD"),
        ("BREW", "/docs", "GET, HEAD"),
    ],
)
async def test_wrong_methods(client: httpx.AsyncClient, method: str, path: str, allow: str) -> None:
    reply = await client.request(method, path)
    assert_problem(reply, 405)
    assert reply.headers["allow"] == allow


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (Overloaded("1024 images are waiting"), 503),
        (ClusterError("no model is deployed yet"), 503),
        (TimeoutError("no answer within 10 s"), 504),
        (TimeoutError(), 504),
        (MantaError("something inside, at /secret/path"), 500),
        (ZeroDivisionError("secret"), 500),
    ],
)
async def test_failures(client: httpx.AsyncClient, predictor: ColourPredictor, failure: Exception, status: int) -> None:
    predictor.failure = failure
    for reply in (
        await client.post("/predict", json={"image": b64(RED)}),
        await client.post("/predict/batch", json={"images": [{"image": b64(RED)}]}),
        await client.get("/model/info"),
    ):
        assert_problem(reply, status)
        assert "secret" not in reply.text
        assert ("retry-after" in reply.headers) == (status == 503)


async def test_health(client: httpx.AsyncClient, predictor: ColourPredictor) -> None:
    body = (await client.get("/health")).json()
    assert (body["status"], body["service"]) == ("healthy", "manta")
    assert (await client.head("/health")).status_code == 200
    assert (await client.get("/health/live")).status_code == 200
    assert (await client.get("/health/ready")).json()["ready"] is True
    predictor.not_ready = "no replica of version 7 runs"
    reply = await client.get("/health/ready")
    assert_problem(reply, 503, "no replica")
    assert reply.json()["ready"] is False
    assert "retry-after" in reply.headers


@pytest.mark.parametrize("sent", ["abc-123", "00-4bf92f:1/2+3=4.5_6", "x" * 128])
async def test_a_sane_request_id_is_kept(client: httpx.AsyncClient, predictor: ColourPredictor, sent: str) -> None:
    reply = await client.post("/predict", json={"image": b64(RED)}, headers={"x-request-id": sent})
    assert reply.json()["request_id"] == sent
    assert predictor.callers[0].request_id == sent


@pytest.mark.parametrize("sent", ["", "a b", "x" * 129, "<script>", 'a"b'])
async def test_another_one_is_not(client: httpx.AsyncClient, sent: str) -> None:
    reply = await client.post("/predict", json={"image": b64(RED)}, headers={"x-request-id": sent})
    assert reply.json()["request_id"] == reply.headers["x-request-id"] != sent
    assert len(reply.json()["request_id"]) == 32


async def test_the_user_reaches_the_choice(client: httpx.AsyncClient, predictor: ColourPredictor) -> None:
    await client.post("/predict", json={"image": b64(RED), "user_id": "ann"})
    assert predictor.callers[0].user_id == "ann"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.fixed_dictionaries({}, optional={"image": json_values, "images": json_values, "top_k": json_values})
    | json_values,
    path=st.sampled_from(["/predict", "/predict/batch"]),
)
async def test_no_json_at_all_is_a_server_error(predictor: ColourPredictor, body: object, path: str) -> None:
    async with http_client(predictor) as client:
        reply = await client.post(path, content=json.dumps(body), headers={"content-type": "application/json"})
    assert reply.status_code in (200, 400)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=300), kind=st.sampled_from(["image/png", MULTIPART["content-type"], "application/json"]))
async def test_no_bytes_at_all_are_a_server_error(predictor: ColourPredictor, body: bytes, kind: str) -> None:
    async with http_client(predictor) as client:
        reply = await client.post("/predict", content=body, headers={"content-type": kind})
    assert reply.status_code == 400
