"""Content-Encoding gzip and deflate: bodies are inflated in pieces, answers are compressed.

A few kilobytes can inflate to gigabytes, so the reader of the pieces counts them and stops at its limit.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator

from starlette.requests import Request

from app.errors import BadInput
from serve_deployments.problem import UnsupportedMedia
from serve_deployments.request_headers import header

_WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
"""zlib's words for the two formats; HTTP's deflate is zlib's format, with its header and checksum."""
FEED = 1 << 16
"""Bytes handed to zlib at a time: what it could not use yet is copied every time."""
PIECE = 1 << 20
"""Bytes inflated at a time, at most, before other requests get their turn."""
WORTH_IT = 1024
"""Smaller answers fit into one packet anyway."""


def content_encoding(request: Request) -> str:
    """How the body is encoded: identity, gzip or deflate. Raises UnsupportedMedia for anything else."""
    encoding = (header(request, "content-encoding") or "identity").strip().lower()
    if encoding != "identity" and encoding not in _WINDOW_BITS:
        raise UnsupportedMedia(f"content encoding {encoding[:100]} is not supported: send gzip, deflate or none")
    return encoding


async def inflate(body: bytes, encoding: str) -> AsyncGenerator[bytes, None]:
    """The decompressed body in pieces of at most PIECE bytes. Raises BadInput when it is damaged or cut off."""
    decoder = zlib.decompressobj(_WINDOW_BITS[encoding])
    for start in range(0, len(body), FEED):
        data: bytes | memoryview = memoryview(body)[start : start + FEED]
        while True:
            try:
                piece = decoder.decompress(data, PIECE)
            except zlib.error as error:
                raise BadInput(f"the body is not {encoding}: {error}") from None
            if piece:
                yield piece
            if not decoder.eof:
                await asyncio.sleep(0)
            data = decoder.unconsumed_tail
            if decoder.eof or (not data and len(piece) < PIECE):
                break
        if decoder.eof and (decoder.unused_data or start + FEED < len(body)):
            raise BadInput(f"the body goes on after the end of its {encoding} data")
    if not decoder.eof:
        raise BadInput(f"the {encoding} body is cut off")


def accepted_encoding(request: Request) -> str | None:
    """gzip or deflate, whichever the client names first in Accept-Encoding; None when it names neither."""
    for choice in (header(request, "accept-encoding") or "").split(","):
        encoding, _, weight = choice.partition(";")
        if encoding.strip().lower() in _WINDOW_BITS and weight.replace(" ", "") not in ("q=0", "q=0.0"):
            return encoding.strip().lower()
    return None


def compress(body: bytes, encoding: str) -> bytes:
    """Fast rather than small: level 1."""
    return zlib.compress(body, 1, _WINDOW_BITS[encoding])
