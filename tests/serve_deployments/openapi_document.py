"""The service's OpenAPI document, and whether an answer is what it says."""

from __future__ import annotations

from typing import Any

import httpx
import jsonschema  # type: ignore[import-untyped]
import orjson

from serve_deployments.http_api import openapi_json

DOCUMENT: dict[str, Any] = orjson.loads(openapi_json())


def schema_for(path: str, method: str, status: int, kind: str) -> dict[str, Any]:
    answer = resolved(DOCUMENT["paths"][path][method]["responses"][str(status)])
    # References point into the whole document, so the schema is checked as a part of it.
    return {**DOCUMENT, **resolved(answer["content"][kind]["schema"])}


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        target: Any = DOCUMENT
        for key in node["$ref"].removeprefix("#/").split("/"):
            target = target[key]
        node = target
    return node


def check(reply: httpx.Response, path: str, method: str) -> None:
    """Raises ValidationError for a body that the document does not allow."""
    kind = reply.headers["content-type"]
    jsonschema.validate(reply.json(), schema_for(path, method, reply.status_code, kind))
