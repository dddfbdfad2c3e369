"""Requests to a cluster's dashboard: the one door for jobs and for Serve documents."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlparse

import httpx

from app.errors import ClusterError
from cluster.environment import read_token

PUT_ATTEMPTS = 3
RETRY_S = 1.0
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Dashboard:
    """A client with the user's Ray token. Every method raises ClusterError with one clear line."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        token = read_token()
        self._client = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            # A proxy for the internet must not see requests to this machine.
            trust_env=urlparse(url).hostname not in _LOOPBACK,
        )

    def get(self, path: str, *, timeout_s: float = 30.0) -> Any:
        return self._request("GET", path, None, timeout_s).json()

    def post(self, path: str, body: object = None, *, timeout_s: float = 30.0) -> Any:
        return self._request("POST", path, body, timeout_s).json()

    def put(self, path: str, body: object, *, timeout_s: float = 60.0) -> None:
        """Repeats on an internal error of the cluster: a PUT is the same however often it is sent.

        On a machine with a high load, Ray sometimes gives up on the first actor of a service.
        """
        self._request("PUT", path, body, timeout_s, attempts=PUT_ATTEMPTS)

    def delete(self, path: str, *, timeout_s: float = 60.0) -> None:
        self._request("DELETE", path, None, timeout_s)

    def close(self) -> None:
        self._client.close()

    def _request(self, method: str, path: str, body: object, timeout_s: float, *, attempts: int = 1) -> httpx.Response:
        try:
            answer = self._client.request(method, path, json=body, timeout=timeout_s)
        except httpx.ConnectError as error:
            raise ClusterError(f"no Ray cluster answers at {self.url}; start one with `manta up`") from error
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise ClusterError(f"the Ray cluster at {self.url} does not answer: {reason}") from error
        if answer.status_code in (401, 403):
            raise ClusterError(
                f"the Ray cluster at {self.url} refused this user's token; "
                "name the right one with RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"
            )
        if answer.is_server_error and attempts > 1:
            time.sleep(RETRY_S)
            return self._request(method, path, body, timeout_s, attempts=attempts - 1)
        if answer.is_error:
            raise ClusterError(f"the Ray cluster at {self.url} refused: {last_line(answer.text)}")
        return answer


def last_line(text: str) -> str:
    """The last line that says something: of a traceback, the exception itself."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it gave no reason"
