"""The service's routes on a real port, without a cluster: what a client or a load test talks to."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.serve_deployments.fakes import ColourPredictor, asgi, http_api
from tests.waiting import wait_for

WELL_UNTIL = 200
"""Requests to /predict before the first one fails: a load test checks its images before."""


@dataclass
class HttpService:
    url: str = ""
    memory: int | None = None
    """What /metrics tells, a little more each time; without it nothing about memory."""
    fail_every: int = 0
    """Each so many-th request to /predict is answered with 503."""
    paths: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    """Of all answers to /predict."""


@contextmanager
def http_service() -> Iterator[HttpService]:
    state = HttpService()
    config = uvicorn.Config(
        _app(state), host="127.0.0.1", port=0, log_level="critical", lifespan="off", access_log=False, ws="none"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started, pause_s=0.005)
        state.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        yield state
    finally:
        server.should_exit = True
        thread.join()


def _app(state: HttpService) -> ASGIApp:
    routes = asgi(http_api(ColourPredictor()))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        state.paths[path] += 1
        count = state.paths[path]
        if path == "/metrics" and state.memory is not None:
            state.memory += 1000
            await _answer(send, 200, f"process_resident_memory_bytes {state.memory}\n")
        elif path == "/predict" and state.fail_every and count > WELL_UNTIL and count % state.fail_every == 0:
            state.statuses[503] += 1
            await _answer(send, 503, "{}")
        else:
            state.statuses[200] += path == "/predict"
            await routes(scope, receive, send)

    return app


async def _answer(send: Send, status: int, body: str) -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body.encode()})
