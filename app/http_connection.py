"""A client's keep-alive connection that costs little: what a load generator is made of.

httpx takes about a millisecond of CPU for a request, more than a fast service takes to answer it. This writes bytes
that were put together beforehand, and reads no more of the answer than its status and its end.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

import httptools

from app.errors import BadInput


@dataclass(frozen=True, slots=True)
class Address:
    """Where a service is asked."""

    host: str
    port: int
    secure: bool
    prefix: str
    """Of every path: "" unless the service lies below one."""

    @classmethod
    def of(cls, url: str) -> Address:
        """url: http:// or https://. Raises BadInput."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise BadInput(f"{url} is no URL: {error}") from error
        if parts.scheme not in ("http", "https") or not host:
            raise BadInput(f"{url} is no URL of a service; write http://HOST:PORT")
        secure = parts.scheme == "https"
        return cls(host, port or (443 if secure else 80), secure, parts.path.rstrip("/"))

    def post(self, path: str, content_type: str, body: bytes) -> bytes:
        """The bytes of a whole request."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        head = (
            f"POST {self.prefix}{path} HTTP/1.1\r\nHost: {host}:{self.port}\r\n"
            f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode("ascii") + body


class HttpConnection(asyncio.Protocol):
    """One request at a time. Made by `open`; raises OSError from there and ConnectionError from `send`."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[int] | None = None
        self.usable = True
        """False once the server closed it, or said that it would."""

    @classmethod
    async def open(cls, address: Address) -> HttpConnection:
        context = ssl.create_default_context() if address.secure else None
        _, connection = await asyncio.get_running_loop().create_connection(cls, address.host, address.port, ssl=context)
        return connection

    async def send(self, request: bytes) -> int:
        """The status of the answer, once that is there as a whole."""
        if not self.usable or self._transport is None:
            raise ConnectionResetError("the server closed the connection")
        self._parser = httptools.HttpResponseParser(self)
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await self._answer
        except asyncio.CancelledError:  # its answer may still come, and would be taken for the next one's
            self.close()
            raise

    def close(self) -> None:
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(ConnectionAbortedError(f"no HTTP: {error}"))
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        self._fail(ConnectionResetError(str(exc) if exc else "the server closed the connection"))

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self.usable = self.usable and self._parser.should_keep_alive()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(self._parser.get_status_code())

    def _fail(self, error: ConnectionError) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
