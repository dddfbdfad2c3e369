"""When a service counts as ready."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from app.errors import ClusterError
from cluster.serve_client import wait_until_answering

READY = {"ready": True, "revision": 3, "problem": "classifier-2 is not deployed"}


class _Router(BaseHTTPRequestHandler):
    """A router that is ready with revision 3."""

    def do_GET(self) -> None:
        body = json.dumps(READY).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Router) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_former_revision_is_not_what_was_waited_for(url: str) -> None:
    """The former champion answers while a router cannot take over the new file."""
    wait_until_answering(url, timeout_s=5)
    wait_until_answering(url, revision=3, timeout_s=5)
    with pytest.raises(ClusterError, match=r"is not 200 at revision 4 after 1 s: 200 .*classifier-2 is not deployed"):
        wait_until_answering(url, revision=4, timeout_s=1)
