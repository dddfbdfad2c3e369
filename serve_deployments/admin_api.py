"""Routes that change or describe the whole service. All of them ask `control`; this checks who asks and what.

A bearer token opens them, `MANTA_ADMIN_TOKEN` in the cluster's environment; without one they are off.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from starlette.requests import Request

from app.errors import BadInput, MantaError
from serve_deployments.request_body import Bodies, read_object


class Unauthorized(MantaError):
    """No token, or not the right one."""

    http_status = 401


class AdminOff(MantaError):
    http_status = 403


class Control(Protocol):
    async def call(self, method: str, *arguments: Any) -> Any: ...


Operation = Callable[[Request], Awaitable[Any]]


class AdminApi:
    def __init__(self, control: Control, bodies: Bodies, *, token: str) -> None:
        self._control = control
        self._bodies = bodies
        self._token = token.encode()
        self.routes: dict[str, dict[str, Operation]] = {
            "/admin/traffic": {"GET": self._traffic, "PUT": self._put_traffic},
            "/admin/weights": {"POST": self._forward("weigh")},
            "/admin/shadow": {"POST": self._forward("shadow")},
            "/admin/quality": {"POST": self._forward("set_quality")},
            "/admin/guardrails": {"POST": self._forward("set_guardrails")},
            "/admin/deploy": {"POST": self._forward("deploy")},
            "/admin/undeploy": {"POST": self._forward("undeploy")},
            "/admin/promote": {"POST": self._forward("promote")},
            "/admin/rollback": {"POST": self._forward("rollback")},
            "/admin/operation": {"GET": self._operation},
            "/admin/ab": {"GET": self._ab},
            "/admin/decisions": {"GET": self._decisions},
        }

    def check(self, request: Request) -> None:
        """Raises AdminOff without a token to compare with, Unauthorized for any other than it."""
        if not self._token:
            raise AdminOff("the admin routes are off: start the cluster with MANTA_ADMIN_TOKEN set")
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        # Compared in constant time: how long it takes tells nothing of how much of it is right.
        if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), self._token):
            raise Unauthorized("this route needs the header `Authorization: Bearer <admin token>`")

    def _forward(self, method: str) -> Operation:
        async def operation(request: Request) -> Any:
            return await self._control.call(method, await self._values(request))

        return operation

    async def _values(self, request: Request) -> dict[str, Any]:
        if not request.headers.get("content-length", "").strip("0") and "transfer-encoding" not in request.headers:
            return {}
        return read_object(await self._bodies.read(request))

    async def _traffic(self, _request: Request) -> Any:
        return await self._control.call("traffic")

    async def _put_traffic(self, request: Request) -> Any:
        return await self._control.call("put_traffic", await self._values(request))

    async def _operation(self, request: Request) -> Any:
        identifier = request.query_params.get("id")
        if not identifier:
            raise BadInput("which operation? Add ?id=, from the answer that began it")
        return await self._control.call("operation", identifier)

    async def _ab(self, _request: Request) -> Any:
        return await self._control.call("ab")

    async def _decisions(self, _request: Request) -> Any:
        return await self._control.call("decisions")
