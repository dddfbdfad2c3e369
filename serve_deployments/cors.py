"""Cross-origin requests: which web pages may call the service from a browser (https://fetch.spec.whatwg.org/#http-cors-protocol)."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from serve_deployments.request_headers import header

_ANY = "*"
_KEPT_S = 600
_EXPOSED = "X-Request-Id, Retry-After, Inference-Header-Content-Length"


class Cors:
    """Off without origins: browsers then keep pages of other origins from reading answers."""

    def __init__(self, allow_origins: Sequence[str] = ()) -> None:
        self._origins = frozenset(allow_origins)

    def preflight(self, request: Request) -> Response | None:
        """The answer to a browser that asks first, or None for any other request."""
        if request.method != "OPTIONS" or header(request, "access-control-request-method") is None:
            return None
        allowed = self._allowed(request)
        if allowed is None:
            return Response("this origin is not allowed", 403, media_type="text/plain")
        headers = {
            "Access-Control-Allow-Origin": allowed,
            "Access-Control-Allow-Methods": "GET, POST, PUT",
            "Access-Control-Allow-Headers": header(request, "access-control-request-headers") or "*",
            "Access-Control-Max-Age": str(_KEPT_S),
            "Vary": "Origin",
        }
        return Response(status_code=204, headers=headers)

    def mark(self, request: Request, response: Response) -> None:
        """Lets the page read the answer, if its origin may."""
        if self._origins and (allowed := self._allowed(request)) is not None:
            response.headers["Access-Control-Allow-Origin"] = allowed
            response.headers["Access-Control-Expose-Headers"] = _EXPOSED
            response.headers.append("Vary", "Origin")

    def _allowed(self, request: Request) -> str | None:
        origin = header(request, "origin")
        if origin is None or not self._origins:
            return None
        return _ANY if _ANY in self._origins else origin if origin in self._origins else None
