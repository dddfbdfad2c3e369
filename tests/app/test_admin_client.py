"""The command line's way to the admin routes."""

from __future__ import annotations

import contextlib

import httpx
import pytest

from app.admin_client import AdminClient
from app.errors import BadInput, ClusterError, Conflict, MantaError

URL = "http://service:8000"


def client_that_gets(reply: httpx.Response) -> AdminClient:
    client = AdminClient(URL, "token")
    client._client.close()
    client._client = httpx.Client(base_url=URL, transport=httpx.MockTransport(lambda _request: reply))
    return client


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (401, BadInput, r"at http://service:8000 does not take this token: MANTA_ADMIN_TOKEN .*MANTA_HOME/admin_token"),
        (403, ClusterError, "^said$"),
        (409, Conflict, "^said$"),
        (503, ClusterError, "^said$"),
    ],
)
def test_what_the_service_refuses(status: int, error: type[MantaError], message: str) -> None:
    reply = httpx.Response(status, json={"error": "said"})
    with contextlib.closing(client_that_gets(reply)) as client, pytest.raises(error, match=message) as caught:
        client.get("traffic")
    assert type(caught.value) is error


def test_without_a_token_nothing_is_asked() -> None:
    with pytest.raises(BadInput, match="MANTA_ADMIN_TOKEN"):
        AdminClient(URL, "")
