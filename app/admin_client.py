"""The admin routes of a running service, as the command line asks them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from app.errors import BadInput, ClusterError, Conflict, MantaError, NotFound, error_named

_POLL_S = 0.3
_BY_STATUS: Mapping[int, type[MantaError]] = {400: BadInput, 404: NotFound, 409: Conflict}


class AdminClient:
    """Raises the service's own errors, BadInput for another cluster's token, ClusterError where nothing answers."""

    def __init__(self, url: str, token: str) -> None:
        """Raises BadInput without a token."""
        if not token:
            raise BadInput(
                "the service has no admin token here: set MANTA_ADMIN_TOKEN to that of the cluster's environment"
            )
        self._url = url.rstrip("/")
        self._client = httpx.Client(
            base_url=self._url, headers={"Authorization": f"Bearer {token}"}, timeout=40.0, trust_env=False
        )

    def close(self) -> None:
        self._client.close()

    def get(self, what: str, **query: str) -> Any:
        """what: traffic, ab, drift, decisions or operation."""
        return self._ask("GET", what, params=query)

    def metrics(self) -> str:
        """Prometheus text: what the whole service counted."""
        return self._reply("GET", "/metrics").text

    def change(
        self,
        kind: str,
        values: Mapping[str, Any],
        *,
        on_progress: Callable[[Mapping[str, str]], None] = lambda _statuses: None,
        timeout_s: float = 180.0,
    ) -> dict[str, Any]:
        """Asks for a change and waits until it is done. Returns the traffic file that is in effect then."""
        operation = self._ask("POST", kind, json=dict(values))
        deadline, seen = time.monotonic() + timeout_s, None
        while operation["state"] == "running":
            if operation["progress"] and operation["progress"] != seen:
                seen = operation["progress"]
                on_progress(seen)
            if time.monotonic() > deadline:
                raise ClusterError(f"the change is still going on after {timeout_s:.0f} s; see `manta traffic`")
            time.sleep(_POLL_S)
            operation = self._ask("GET", "operation", params={"id": operation["id"]})
        if operation["state"] == "failed":
            raise error_named(operation["error"], operation["message"])
        return dict(operation)

    def _ask(self, method: str, what: str, **arguments: Any) -> Any:
        return self._reply(method, f"/admin/{what}", **arguments).json()

    def _reply(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        try:
            reply = self._client.request(method, path, **arguments)
        except httpx.HTTPError as error:
            raise ClusterError(f"no service answers at {self._url}: {error or type(error).__name__}") from error
        if reply.status_code == 401:
            raise BadInput(
                f"the service at {self._url} does not take this token: MANTA_ADMIN_TOKEN (or, where that is not set, "
                "MANTA_HOME/admin_token) is not that of its cluster"
            )
        if reply.status_code >= 400:
            raise _BY_STATUS.get(reply.status_code, ClusterError)(_message(reply))
        return reply


def _message(reply: httpx.Response) -> str:
    try:
        return str(reply.json()["error"])
    except (ValueError, KeyError, TypeError):
        return f"{reply.url} answered {reply.status_code}: {reply.text[:200]}"
