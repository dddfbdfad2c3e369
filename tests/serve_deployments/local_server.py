"""An HTTP server with a socket, on an event loop in a thread of its own: for clients that block."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp


@contextmanager
def serve(make: Callable[[], Awaitable[ASGIApp]]) -> Iterator[str]:
    """The address `127.0.0.1:port` of what `make`, called on the server's loop, returns."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        started = threading.Event()
        servers: list[uvicorn.Server] = []
        failures: list[BaseException] = []

        async def run() -> None:
            config = uvicorn.Config(await make(), loop="asyncio", ws="none", lifespan="off", log_level="warning")
            servers.append(uvicorn.Server(config))
            serving = asyncio.create_task(servers[0].serve(sockets=[listener]))
            while not servers[0].started and not serving.done():  # noqa: ASYNC110 (uvicorn has no event for it)
                await asyncio.sleep(0.01)
            started.set()
            await serving
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

        def main() -> None:
            try:
                asyncio.run(run())
            except BaseException as error:  # told to the test below, which waits in another thread
                failures.append(error)
                started.set()

        thread = threading.Thread(target=main, name="server", daemon=True)
        thread.start()
        assert started.wait(30)
        if failures:
            raise failures[0]
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        servers[0].should_exit = True
        thread.join(30)
        assert not thread.is_alive()
        if failures:
            raise failures[0]
