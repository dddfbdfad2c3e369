"""Routes that change or describe the whole service. All of them ask `control`; this checks who asks and what.

A bearer token opens them, `MANTA_ADMIN_TOKEN` in the cluster's environment; without one they are off.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from starlette.requests import Request

from app.errors import BadInput, MantaError
from serve_deployments.request_body import Bodies, read_object
from serve_deployments.request_headers import header


class Unauthorized(MantaError):
    """No token, or not the right one."""

    http_status = 401


class AdminOff(MantaError):
    http_status = 403


class Control(Protocol):
    async def call(self, method: str, *arguments: Any) -> Any: ...

    async def change(self, kind: str, values: Mapping[str, Any]) -> Any: ...


Operation = Callable[[Request], Awaitable[Any]]


class AdminApi:
    def __init__(self, control: Control, bodies: Bodies, *, token: str) -> None:
        self._control = control
        self._bodies = bodies
        self._token = token.encode()
        changes = ("deploy", "undeploy", "weights", "shadow", "quality", "guardrails", "promote", "rollback")
        self.routes: dict[str, dict[str, Operation]] = {
            "/admin/traffic": {"GET": self._ask("traffic"), "PUT": self._put_traffic},
            "/admin/ab": {"GET": self._ask("ab")},
            "/admin/decisions": {"GET": self._ask("decisions")},
            "/admin/drift": {"GET": self._ask("drift")},
            "/admin/operation": {"GET": self._operation},
            **{f"/admin/{kind}": {"POST": self._change(kind)} for kind in changes},
        }

    def check(self, request: Request) -> None:
        """Raises AdminOff without a token to compare with, Unauthorized for any other than it."""
        if not self._token:
            raise AdminOff("the admin routes are off: start the cluster with MANTA_ADMIN_TOKEN set")
        scheme, _, token = (header(request, "authorization") or "").partition(" ")
        # Compared in constant time: how long it takes tells nothing of how much of it is right.
        if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), self._token):
            raise Unauthorized("this route needs the header `Authorization: Bearer <admin token>`")

    def _ask(self, method: str) -> Operation:
        async def operation(_request: Request) -> Any:
            return await self._control.call(method)

        return operation

    def _change(self, kind: str) -> Operation:
        async def operation(request: Request) -> Any:
            body = await self._bodies.read(request)
            return await self._control.change(kind, read_object(body) if body else {})

        return operation

    async def _put_traffic(self, request: Request) -> Any:
        """All of it that can be declared: weights, shadow, quality and guardrails of versions that are deployed."""
        return await self._control.change("traffic", read_object(await self._bodies.read(request)))

    async def _operation(self, request: Request) -> Any:
        identifier = request.query_params.get("id")
        if not identifier:
            raise BadInput("which operation? Add ?id=, from the answer that began it")
        return await self._control.call("operation", identifier)
