"""The document is valid OpenAPI, names every route, and real answers are what it says."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator

import jsonschema  # type: ignore[import-untyped]
import pytest

from app.errors import ClusterError
from tests.serve_deployments.fakes import ColourPredictor, colour_png, http_api, http_client
from tests.serve_deployments.openapi_document import DOCUMENT, check, resolved

IMAGE = base64.b64encode(colour_png(0)).decode()
TENSOR = {"name": "encoded", "shape": [1], "datatype": "BYTES", "data": [IMAGE]}
NUMBERS = {"inputs": [TENSOR], "outputs": [{"name": "probabilities"}]}
CLASSES = {"id": "a", "inputs": [TENSOR], "outputs": [{"name": "probabilities", "parameters": {"classification": 2}}]}


def references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_every_reference_leads_somewhere_and_every_component_is_used() -> None:
    used = set(references(DOCUMENT))
    for reference in used:
        resolved({"$ref": reference})
    for operations in DOCUMENT["paths"].values():
        for operation in operations.values():
            used |= {f"#/components/securitySchemes/{name}" for each in operation.get("security", ()) for name in each}
    defined = {f"#/components/{kind}/{name}" for kind, members in DOCUMENT["components"].items() for name in members}
    assert used == defined


def test_every_schema_is_valid() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_every_operation_is_complete() -> None:
    identifiers = []
    for path, methods in DOCUMENT["paths"].items():
        assert re.fullmatch(r"(/([a-z0-9.]+|\{[a-z]+\}))+", path)
        for operation in methods.values():
            assert operation["summary"]
            assert operation["tags"][0] in [tag["name"] for tag in DOCUMENT["tags"]]
            assert operation["responses"]
            identifiers.append(operation["operationId"])
    assert len(set(identifiers)) == len(identifiers)


def test_routes_and_document_agree() -> None:
    api = http_api(ColourPredictor())
    routes = {path: {method.lower() for method in methods} for path, methods in api._routes.items()}
    assert routes == {path: set(methods) for path, methods in DOCUMENT["paths"].items()}


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("post", "/predict", {"image": IMAGE}, 200),
        ("post", "/predict", {}, 400),
        ("post", "/predict", {"image": "x" * 70_000}, 413),
        ("post", "/predict/batch", {"images": [{"image": IMAGE}, 3]}, 200),
        ("post", "/predict/batch", {"images": 3}, 400),
        ("get", "/health", None, 200),
        ("get", "/health/live", None, 200),
        ("get", "/health/ready", None, 200),
        ("get", "/model/info", None, 200),
        ("get", "/openapi.json", None, 200),
        ("get", "/v2", None, 200),
        ("get", "/v2/health/live", None, 200),
        ("get", "/v2/health/ready", None, 200),
        ("get", "/v2/models/stats", None, 200),
        ("get", "/v2/models/{model}", None, 200),
        ("get", "/v2/models/{model}/ready", None, 200),
        ("get", "/v2/models/{model}/config", None, 200),
        ("get", "/v2/models/{model}/stats", None, 200),
        ("get", "/v2/models/{model}/versions/{version}", None, 200),
        ("get", "/v2/models/{model}/versions/{version}/ready", None, 200),
        ("get", "/v2/models/{model}/versions/{version}/config", None, 200),
        ("get", "/v2/models/{model}/versions/{version}/stats", None, 200),
        ("post", "/v2/models/{model}/infer", NUMBERS, 200),
        ("post", "/v2/models/{model}/infer", CLASSES, 200),
        ("post", "/v2/models/{model}/infer", {}, 400),
        ("post", "/v2/models/{model}/versions/{version}/infer", NUMBERS, 200),
        ("post", "/v2/repository/index", {"ready": True}, 200),
        ("post", "/v2/repository/models/{model}/load", {}, 403),
        ("post", "/v2/repository/models/{model}/unload", {}, 403),
    ],
)
async def test_answers_are_what_the_document_says(method: str, path: str, body: object, status: int) -> None:
    async with http_client(ColourPredictor()) as client:
        reply = await client.request(method, path.format(model="colours", version="7"), json=body)
    assert reply.status_code == status
    check(reply, path, method)


async def test_failures_are_what_the_document_says() -> None:
    predictor = ColourPredictor()
    predictor.failure = ClusterError("no model is deployed yet")
    predictor.not_ready = "no model is deployed yet"
    async with http_client(predictor) as client:
        check(await client.post("/predict", json={"image": IMAGE}), "/predict", "post")
        check(await client.post("/predict", content=b"x", headers={"content-type": "a/b"}), "/predict", "post")
        check(await client.get("/health/ready"), "/health/ready", "get")
        check(await client.get("/model/info"), "/model/info", "get")
        check(await client.get("/v2/health/ready"), "/v2/health/ready", "get")
        check(await client.get("/v2/models/x"), "/v2/models/{model}", "get")
        check(
            await client.get("/v2/models/colours/versions/8/ready"),
            "/v2/models/{model}/versions/{version}/ready",
            "get",
        )
        infer = "/v2/models/{model}/infer"
        check(await client.post("/v2/models/colours/infer", json=NUMBERS), infer, "post")
        check(await client.post("/v2/models/x/infer", json=NUMBERS), infer, "post")
        predictor.failure = TimeoutError()
        check(await client.post("/predict", json={"image": IMAGE}), "/predict", "post")


async def test_the_page_needs_nothing_from_elsewhere() -> None:
    async with http_client(ColourPredictor()) as client:
        reply = await client.get("/docs")
    assert reply.headers["content-type"].startswith("text/html")
    assert not re.search(r"""(src|href)=["']?(https?:)?//|@import|url\(""", reply.text)
    assert 'fetch("openapi.json")' in reply.text
