"""Paths -> handlers: a dictionary, and templates like `/models/{name}/infer` for what it does not hold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from app.errors import NotFound
from serve_deployments.problem import NotAllowed

Handler = Callable[[Request, str], Awaitable[Response]]
"""Takes the request and its id."""
Methods = Mapping[str, Handler]
Routes = Mapping[str, Methods]


@dataclass(frozen=True, slots=True)
class Route:
    template: str
    methods: Methods


class RouteTable:
    """A parameter is one whole segment of the path; a path without parameters comes first."""

    def __init__(self, routes: Routes) -> None:
        self._exact: dict[str, Route] = {}
        self._templates: dict[int, list[tuple[list[str], Route]]] = defaultdict(list)
        for path, methods in routes.items():
            route = Route(path, methods)
            if "{" in path:
                segments = path.split("/")
                self._templates[len(segments)].append((segments, route))
            else:
                self._exact[path] = route

    def find(self, request: Request) -> Route | None:
        """The route of this path, by any method; the path's parameters are in `request.path_params`."""
        path = _path(request)
        return self._exact.get(path) or self._match(path, request)

    def handler(self, route: Route | None, request: Request) -> Handler:
        """What answers the request on the route that was found. Raises NotFound or NotAllowed."""
        if route is None:
            raise NotFound(f"there is no route {_path(request)[:200]}")
        method = "GET" if request.method == "HEAD" else request.method
        if method not in route.methods:
            allow = ", ".join([*route.methods, "HEAD"] if "GET" in route.methods else route.methods)
            raise NotAllowed(f"{_path(request)[:200]} takes {allow}, not {request.method}", allow)
        return route.methods[method]

    def _match(self, path: str, request: Request) -> Route | None:
        segments = path.split("/")
        for template, route in self._templates.get(len(segments), ()):
            parameters: dict[str, str] = {}
            for expected, segment in zip(template, segments, strict=True):
                if expected[:1] == "{" and segment:
                    parameters[expected[1:-1]] = segment
                elif expected != segment:
                    break
            else:
                request.scope["path_params"] = parameters
                return route
        return None


def _path(request: Request) -> str:
    path: str = request.scope["path"]
    return path.removeprefix(request.scope.get("root_path", ""))
