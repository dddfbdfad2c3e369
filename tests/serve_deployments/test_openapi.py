"""The document is valid OpenAPI, names every route, and real answers are what it says."""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Iterator
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from pydantic import BaseModel

from app.errors import BadInput, ClusterError
from app.traffic_file import Cascade, Guardrails, Quality, Shadow
from serve_deployments import change_requests
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


LIMITS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "minProperties")
CHANGES = {
    "TrafficRequest": change_requests.SetTraffic,
    "DeployRequest": change_requests.Deploy,
    "VersionRequest": change_requests.Promote,
    "WeightsRequest": change_requests.Weigh,
    "ShadowRequest": change_requests.SetShadow,
    "QualityRequest": change_requests.SetQuality,
    "GuardrailsRequest": change_requests.SetGuardrails,
    "ChangeRequest": change_requests.Rollback,
}
PARTS = {"Shadow": Shadow, "Qualities": Quality, "Cascade": Cascade, "Guardrails": Guardrails}


def whole(schema: dict[str, Any]) -> dict[str, Any]:
    """An object's schema with what `allOf` says."""
    schema = resolved(schema)
    parts = [schema, *map(whole, schema.get("allOf", ()))]
    properties = {name: each for part in parts for name, each in part.get("properties", {}).items()}
    return {"properties": properties, "required": {name for part in parts for name in part.get("required", ())}}


def limits(field: dict[str, Any]) -> dict[str, Any]:
    """Of a value that is not null, and its default where it is more than nothing."""
    found = {name: each[name] for each in (field, *field.get("anyOf", ())) for name in LIMITS if name in each}
    return found if isinstance(field.get("default"), dict) else {**found, "default": field.get("default") or None}


@pytest.mark.parametrize(("name", "model"), list({**CHANGES, **PARTS}.items()))
def test_what_the_models_take_is_what_the_document_says(name: str, model: type[BaseModel]) -> None:
    described, taken = whole(DOCUMENT["components"]["schemas"][name]), model.model_json_schema()
    assert described["properties"].keys() == taken["properties"].keys()
    assert described["required"] == set(taken.get("required", ()))
    for field, value in taken["properties"].items():
        assert limits(described["properties"][field]).items() >= limits(value).items(), field


@pytest.mark.parametrize(
    ("kind", "needs_a_body"),
    [
        *((kind, True) for kind in ("deploy", "undeploy", "weights", "quality", "guardrails", "promote")),
        *((kind, False) for kind in ("shadow", "rollback")),
    ],
)
def test_a_body_is_required_where_an_empty_one_is_refused(kind: str, needs_a_body: bool) -> None:
    with pytest.raises(BadInput) if needs_a_body else contextlib.nullcontext():
        change_requests.parse(kind, {})
    body = DOCUMENT["paths"][f"/admin/{kind}"]["post"]["requestBody"]
    assert body.get("required", False) is needs_a_body


@pytest.mark.parametrize(
    "values",
    [
        {"quality": {"fast": "1", "auto": {"fast": "1", "accurate": "2", "threshold": 0.5}, "ensemble": None}},
        {"guardrails": {"max_p99_ms": 20, "max_p99_ratio": None}},
        {"percent": {"2": 5}, "shadow": {"version": "2"}, "guardrails": {}},
    ],
)
def test_examples_of_a_traffic_file_are_valid(values: dict[str, Any]) -> None:
    jsonschema.validate(values, {**DOCUMENT, **DOCUMENT["components"]["schemas"]["TrafficRequest"]})
    change_requests.parse("traffic", values)


@pytest.mark.parametrize(
    "values",
    [
        {"guardrails": {"max_p99": 20}},
        {"guardrails": {"window_s": 0}},
        {"quality": {"ensemble": {"1": 1}}},
        {"quality": {"auto": {"fast": "1"}}},
        {"shadow": {"version": "2", "share": 0}},
    ],
)
def test_what_no_traffic_file_has_is_refused_by_the_document_too(values: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        change_requests.parse("traffic", values)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values, {**DOCUMENT, **DOCUMENT["components"]["schemas"]["TrafficRequest"]})


async def test_a_method_that_a_route_does_not_have_and_faults() -> None:
    predictor = ColourPredictor()
    predictor.failure = RuntimeError("a defect")
    async with http_client(predictor) as client:
        check(await client.delete("/predict"), "/predict", "post")
        check(await client.post("/predict", json={"image": IMAGE}), "/predict", "post")
    for methods in DOCUMENT["paths"].values():
        for operation in methods.values():
            assert {"405", "500"} <= operation["responses"].keys()


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
