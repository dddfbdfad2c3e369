"""One request to the Python service and to the engine's server, and whether both answered the same."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import pytest

Sent = tuple[str, str, dict[str, str], bytes]
"""Method, path with query, headers, body."""
VOLATILE = {"request_id", "timestamp", "inference_time_ms", "total_inference_time_ms", "average_time_per_image_ms"}
OWN = {"model_path", "versions", "model_stats"}
"""What a server without a registry must say differently, and what it counted."""
OWN_WORDS = (
    "not JSON",
    "multipart body cannot be read",
    "the body is larger than",
    "the body is not gzip",
    "the body is not deflate",
)
"""How what each one's parser found wrong is said, and what the limits and encodings are."""


def b64(data: bytes) -> str:
    """An image as JSON carries it."""
    return base64.b64encode(data).decode()


async def assert_the_same_answer(python_service: httpx.AsyncClient, url: str, sent: Sent) -> None:
    method, path, headers, body = sent
    expected = await python_service.request(method, f"http://manta{path}", headers=headers, content=body)
    async with httpx.AsyncClient() as client:
        reply = await client.request(method, url + path, headers=headers, content=body)
    assert reply.status_code == expected.status_code, reply.text
    for name in ("content-type", "content-encoding", "allow"):
        assert reply.headers.get(name) == expected.headers.get(name)
    if "x-request-id" in headers:
        assert reply.headers["x-request-id"] == headers["x-request-id"]
    if method == "HEAD":
        return
    size = "inference-header-content-length"
    assert (size in reply.headers) == (size in expected.headers)
    if size in expected.headers:
        _assert_same_binary(reply, expected)
        return
    request_id = reply.headers["x-request-id"]
    _assert_same_json(reply.json(), expected.json(), request_id)


def _assert_same_json(reply: Any, expected: Any, request_id: str) -> None:
    if isinstance(expected, list):
        assert _same(reply, expected)
        return
    assert reply.get("request_id", request_id) == request_id
    detail = str(expected.get("detail"))
    for words in OWN_WORDS:
        if words in detail:
            assert words in reply["detail"]
            return
    names = expected.keys() - VOLATILE - OWN
    assert names <= reply.keys()
    for name in names:
        assert _same(reply[name], expected[name]), f"{name}: {reply[name]} is not {expected[name]}"


def _assert_same_binary(reply: httpx.Response, expected: httpx.Response) -> None:
    """The JSON in front is compared by its shape, the numbers behind it as bytes."""
    tails = [answer.content[int(answer.headers["inference-header-content-length"]) :] for answer in (reply, expected)]
    assert tails[0] == tails[1]


def _same(one: object, other: object) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(
            _same(one[key], other[key]) for key in one if key not in OWN | VOLATILE
        )
    return one == pytest.approx(other, abs=1e-5) if isinstance(other, float) else one == other
