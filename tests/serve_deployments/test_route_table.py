"""Paths find their handlers, with and without parameters."""

from __future__ import annotations

import pytest
from starlette.requests import Request
from starlette.responses import Response

from app.errors import NotFound
from serve_deployments.problem import NotAllowed
from serve_deployments.route_table import Handler, RouteTable


def handler(name: str) -> Handler:
    async def handle(_request: Request, _request_id: str) -> Response:
        return Response(name)

    return handle


ROUTES = {
    path: {"GET": handler(path)} for path in ("/a", "/a/{x}", "/a/fixed", "/a/{x}/b", "/a/{x}/b/{y}", "/{z}/c")
} | {"/post": {"POST": handler("/post")}}


async def find(path: str, method: str = "GET", root_path: str = "") -> tuple[str, dict[str, str]]:
    scope = {"type": "http", "path": root_path + path, "root_path": root_path, "method": method, "headers": []}
    request = Request(scope)
    table = RouteTable(ROUTES)
    route = table.find(request)
    response = await table.handler(route, request)(request, "id")
    assert route is not None
    assert bytes(response.body).decode() == route.template
    return route.template, request.path_params


@pytest.mark.parametrize(
    ("path", "template", "parameters"),
    [
        ("/a", "/a", {}),
        ("/a/fixed", "/a/fixed", {}),
        ("/a/other", "/a/{x}", {"x": "other"}),
        ("/a/1/b", "/a/{x}/b", {"x": "1"}),
        ("/a/1/b/{2}", "/a/{x}/b/{y}", {"x": "1", "y": "{2}"}),
        ("/a/c", "/a/{x}", {"x": "c"}),
        ("/q/c", "/{z}/c", {"z": "q"}),
    ],
)
async def test_found(path: str, template: str, parameters: dict[str, str]) -> None:
    assert await find(path) == (template, parameters)
    assert await find(path, root_path="/root") == (template, parameters)
    assert await find(path, method="HEAD") == (template, parameters)


@pytest.mark.parametrize("path", ["", "/", "/b", "/a/", "/a//b", "/a/1/b/", "/a/1/c", "/a/1/b/2/3", "//c", "/A"])
async def test_not_found(path: str) -> None:
    with pytest.raises(NotFound, match="no route"):
        await find(path)


async def test_other_methods() -> None:
    with pytest.raises(NotAllowed) as caught:
        await find("/a/1", method="POST")
    assert caught.value.allow == "GET, HEAD"
    with pytest.raises(NotAllowed) as caught:
        await find("/post", method="HEAD")
    assert caught.value.allow == "POST"
