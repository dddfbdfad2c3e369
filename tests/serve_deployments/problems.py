"""What is wrong with a request: bodies of any JSON, and what an answer to a bad one looks like."""

from __future__ import annotations

import httpx
from hypothesis import strategies as st

from serve_deployments.problem import TITLES


def assert_problem(reply: httpx.Response, status: int, text: str = "") -> None:
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    body = reply.json()
    assert body["status"] == status
    assert body["title"] == TITLES[status]
    assert body["type"] == "about:blank"
    assert body["error"] == body["detail"] != ""
    assert body["request_id"] == reply.headers["x-request-id"]
    assert "Traceback" not in reply.text
    assert text in body["error"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
