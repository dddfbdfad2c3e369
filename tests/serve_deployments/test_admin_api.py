"""Feedback, metrics, the admin routes and cross-origin requests, without a cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from app.errors import ClusterError, Conflict
from tests.serve_deployments.fakes import ColourPredictor, FakeControl, colour_png, http_client
from tests.serve_deployments.openapi_document import check
from tests.serve_deployments.problems import assert_problem

TOKEN = "open-sesame"
AUTHORIZED = {"authorization": f"Bearer {TOKEN}"}
RED = colour_png(0)


@pytest.fixture
def control() -> FakeControl:
    return FakeControl()


@pytest.fixture
async def client(predictor: ColourPredictor, control: FakeControl) -> AsyncIterator[httpx.AsyncClient]:
    async with http_client(predictor, control, token=TOKEN) as client:
        yield client


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": TOKEN},
        {"authorization": "Bearer"},
        {"authorization": "Bearer open-sesamE"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": f"Bearer {TOKEN}x"},
    ],
)
async def test_admin_routes_want_the_token(
    client: httpx.AsyncClient, control: FakeControl, headers: dict[str, str]
) -> None:
    reply = await client.get("/admin/traffic", headers=headers)
    assert_problem(reply, 401, "Authorization: Bearer")
    check(reply, "/admin/traffic", "get")
    assert_problem(await client.post("/admin/promote", json={"version": "2"}, headers=headers), 401)
    assert control.calls == []


async def test_without_a_token_admin_routes_are_off(predictor: ColourPredictor, control: FakeControl) -> None:
    async with http_client(predictor, control) as client:
        reply = await client.get("/admin/traffic", headers={"authorization": "Bearer "})
        assert_problem(reply, 403, "MANTA_ADMIN_TOKEN")
        check(reply, "/admin/traffic", "get")
    assert control.calls == []


async def test_what_is_asked_for_reaches_control(client: httpx.AsyncClient, control: FakeControl) -> None:
    reply = await client.get("/admin/traffic", headers=AUTHORIZED)
    check(reply, "/admin/traffic", "get")
    await client.post("/admin/weights", json={"percent": {"2": 10}}, headers=AUTHORIZED)
    await client.post("/admin/rollback", headers=AUTHORIZED)
    await client.put("/admin/traffic", json={"percent": {}}, headers=AUTHORIZED)
    await client.get("/admin/operation?id=1", headers=AUTHORIZED)
    assert control.calls == [
        ("traffic",),
        ("change", "weights", {"percent": {"2": 10}}),
        ("change", "rollback", {}),
        ("change", "traffic", {"percent": {}}),
        ("operation", "1"),
    ]


async def test_what_control_refuses_is_said(client: httpx.AsyncClient, control: FakeControl) -> None:
    control.failure = Conflict("the traffic file is at revision 4, not 3")
    assert_problem(await client.post("/admin/promote", json={}, headers=AUTHORIZED), 409, "revision 4")
    control.failure = ClusterError("control does not answer")
    reply = await client.get("/metrics")
    assert_problem(reply, 503, "control does not answer")
    assert reply.headers["retry-after"]
    assert (await client.get("/health")).status_code == 200
    assert (await client.post("/predict", content=RED, headers={"content-type": "image/png"})).status_code == 200


async def test_bad_bodies_do_not_reach_control(client: httpx.AsyncClient, control: FakeControl) -> None:
    for body in (b"[1]", b"{", b"\xff"):
        assert_problem(await client.post("/admin/weights", content=body, headers=AUTHORIZED), 400)
    assert_problem(await client.get("/admin/operation", headers=AUTHORIZED), 400, "?id=")
    assert control.calls == []


@pytest.mark.parametrize(("label", "class_id"), [("green", 1), (2, 2)])
async def test_feedback(client: httpx.AsyncClient, control: FakeControl, label: str | int, class_id: int) -> None:
    reply = await client.post("/feedback", json={"request_id": "r-1", "label": label})
    check(reply, "/feedback", "post")
    assert reply.json() == {"request_id": "r-1", "label": ["red", "green", "blue"][class_id], "joined": True}
    control.replies["feedback"] = {"joined": False}
    later = await client.post("/feedback", json={"request_id": "r-1", "label": label, "image_index": 3})
    assert later.status_code == 202
    check(later, "/feedback", "post")
    assert control.calls == [("feedback", "r-1", 0, class_id), ("feedback", "r-1", 3, class_id)]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"request_id": "r"},
        {"label": "red"},
        {"request_id": "r", "label": "pink"},
        {"request_id": "r", "label": 3},
        {"request_id": "r", "label": -1},
        {"request_id": "r", "label": True},
        {"request_id": "r", "label": 1.5},
        {"request_id": "r\n", "label": 1},
        {"request_id": "r" * 129, "label": 1},
        {"request_id": 7, "label": 1},
        {"request_id": "r", "label": 1, "image_index": -1},
        {"request_id": "r", "label": 1, "image_index": "0"},
    ],
)
async def test_bad_feedback(client: httpx.AsyncClient, control: FakeControl, body: dict[str, object]) -> None:
    assert_problem(await client.post("/feedback", json=body), 400)
    assert control.calls == []


async def test_who_asks_and_for_what(client: httpx.AsyncClient, predictor: ColourPredictor) -> None:
    image = {"content-type": "image/png"}
    await client.post("/predict?quality=fast", content=RED, headers={**image, "x-user-id": "ann"})
    await client.post("/predict", content=RED, headers={**image, "x-model-version": "4"})
    await client.post("/predict?user_id=bob", content=RED, headers={**image, "x-user-id": "ann"})
    await client.post("/predict", files={"file": RED}, data={"quality": "auto", "user_id": "eve"})
    asked = [(each.user_id, each.quality, each.version) for each in predictor.callers]
    assert asked == [("ann", "fast", None), (None, None, "4"), ("bob", None, None), ("eve", "auto", None)]
    for name in ("x-user-id", "x-model-version"):
        assert_problem(await client.post("/predict", content=RED, headers={**image, name: "x" * 257}), 400, name)


async def test_requests_are_counted_by_route(client: httpx.AsyncClient, predictor: ColourPredictor) -> None:
    await client.get("/health")
    await client.get("/some/path/of/a/scanner")
    await client.post("/predict", content=b"")
    await client.get("/v2/models/colours")
    await client.get("/v2/models/of-a-scanner")
    await client.delete("/v2/models/colours/versions/7/ready")
    assert predictor.counted == [
        ("/health", 200),
        ("other", 404),
        ("/predict", 415),
        ("/v2/models/{model}", 200),
        ("/v2/models/{model}", 404),
        ("/v2/models/{model}/versions/{version}/ready", 405),
    ]


async def test_pages_of_allowed_origins_may_read_answers(predictor: ColourPredictor) -> None:
    page = {"origin": "https://page.example"}
    asks_first = {**page, "access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    async with http_client(predictor, allow_origins=["https://page.example"]) as client:
        reply = await client.get("/health", headers=page)
        assert reply.headers["access-control-allow-origin"] == "https://page.example"
        assert "Inference-Header-Content-Length" in reply.headers["access-control-expose-headers"].split(", ")
        preflight = await client.options("/predict", headers=asks_first)
        assert preflight.status_code == 204
        assert preflight.headers["access-control-allow-headers"] == "content-type"
        other = await client.get("/health", headers={"origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers
        refused = await client.options("/predict", headers={**asks_first, "origin": "https://evil.example"})
        assert refused.status_code == 403
    async with http_client(predictor, allow_origins=["*"]) as client:
        assert (await client.get("/health", headers=page)).headers["access-control-allow-origin"] == "*"
    async with http_client(predictor) as client:
        assert "access-control-allow-origin" not in (await client.get("/health", headers=page)).headers
