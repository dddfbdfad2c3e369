"""A router's line to `control`: reports, and whatever changes or describes the whole service."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Mapping
from typing import Any

from ray import serve
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from app.errors import ClusterError, error_named
from serve_deployments.classifier_client import REPLICA_LOST
from serve_deployments.report import Instructions, Report

CONTROL = "control"
REPORT_TIMEOUT_S = 5.0
CALL_TIMEOUT_S = 30.0

Reply = dict[str, Any]


class ControlClient:
    """Connects when it is first needed: routers answer without `control` too."""

    def __init__(self) -> None:
        self._handle: DeploymentHandle[Any] | None = None

    async def report(self, report: Report) -> Instructions:
        """Raises ClusterError or TimeoutError when it did not arrive; reports can be repeated."""
        told: Instructions = await self._ask("report", (report,), REPORT_TIMEOUT_S)
        return told

    async def call(self, method: str, *arguments: Any) -> Any:
        """Raises what `control` refused with, and ClusterError or TimeoutError when it does not answer."""
        return await self._ask(method, arguments, CALL_TIMEOUT_S)

    async def change(self, kind: str, values: Mapping[str, Any]) -> Any:
        """Like `call`. It goes on though the caller leaves, and is refused when it arrives later than this waits."""
        arguments = (kind, values, time.time() + CALL_TIMEOUT_S)
        return await self._ask("change", arguments, CALL_TIMEOUT_S, until_done=True)

    async def _ask(self, method: str, arguments: tuple[Any, ...], timeout_s: float, *, until_done: bool = False) -> Any:
        """until_done: it is not cancelled when nobody waits for the reply any more."""
        # In a context of its own, where a client that leaves does not cancel it.
        task = asyncio.get_running_loop().create_task(self._remote(method, arguments), context=contextvars.Context())
        try:
            async with asyncio.timeout(timeout_s):
                reply: Reply = await asyncio.shield(task)
        except (TimeoutError, asyncio.CancelledError):
            if not until_done:  # without a `control`, Serve would keep it, and what it carries, for ever
                task.cancel()
            raise
        if "error" in reply:
            raise error_named(reply["error"], reply["message"])
        return reply["result"]

    async def _remote(self, method: str, arguments: tuple[Any, ...]) -> Any:
        try:
            if self._handle is None:
                self._handle = await asyncio.to_thread(serve.get_app_handle, CONTROL)
            return await self._handle.options(method_name=method).remote(*arguments)
        except (*REPLICA_LOST, RayServeException) as error:
            self._handle = None
            raise ClusterError(f"the service's control does not answer ({type(error).__name__}); try again") from error
