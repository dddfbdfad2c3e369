"""Paths -> handlers: a dictionary, and templates like `/models/{name}/infer` for what it does not hold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response

from app.errors import NotFound
from serve_deployments.problem import NotAllowed

Handler = Callable[[Request, str], Awaitable[Response]]
"""Takes the request and its id."""
Methods = Mapping[str, Handler]
Routes = Mapping[str, Methods]


class RouteTable:
    """A parameter is one whole segment of the path; a path without parameters comes first."""

    def __init__(self, routes: Routes) -> None:
        self._exact = {path: methods for path, methods in routes.items() if "{" not in path}
        self._templates: dict[int, list[tuple[list[str], Methods]]] = defaultdict(list)
        for path, methods in routes.items():
            if path not in self._exact:
                segments = path.split("/")
                self._templates[len(segments)].append((segments, methods))

    def find(self, request: Request) -> Handler:
        """The handler; the path's parameters are in `request.path_params`. Raises NotFound or NotAllowed."""
        path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
        methods = self._exact.get(path)
        if methods is None:
            methods, request.scope["path_params"] = self._match(path)
        method = "GET" if request.method == "HEAD" else request.method
        if method not in methods:
            allow = ", ".join([*methods, "HEAD"] if "GET" in methods else methods)
            raise NotAllowed(f"{path[:200]} takes {allow}, not {request.method}", allow)
        return methods[method]

    def _match(self, path: str) -> tuple[Methods, dict[str, str]]:
        segments = path.split("/")
        for template, methods in self._templates.get(len(segments), ()):
            parameters: dict[str, str] = {}
            for expected, segment in zip(template, segments, strict=True):
                if expected[:1] == "{" and segment:
                    parameters[expected[1:-1]] = segment
                elif expected != segment:
                    break
            else:
                return methods, parameters
        raise NotFound(f"there is no route {path[:200]}")
