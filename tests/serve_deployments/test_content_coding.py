"""Compressed bodies: read in full, refused when damaged, and never inflated past the limit."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import AsyncIterator, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from app.errors import BadInput
from serve_deployments.content_coding import PIECE, accepted_encoding, compress, inflate

PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}
encodings = st.sampled_from(["gzip", "deflate"])


async def inflated(body: bytes, encoding: str) -> bytes:
    return b"".join([piece async for piece in inflate(body, encoding)])


@settings(deadline=None)
@given(st.binary(max_size=2000), encodings)
async def test_what_was_packed_comes_out(body: bytes, encoding: str) -> None:
    assert await inflated(PACK[encoding](body), encoding) == body
    assert await inflated(compress(body, encoding), encoding) == body


@pytest.mark.parametrize("encoding", PACK)
@pytest.mark.parametrize("size", [0, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE])
async def test_large_ones_come_in_pieces(size: int, encoding: str) -> None:
    """Zeros are packed 1000 times, random bytes not at all: both ways through zlib's buffers."""
    noise = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    for body in (bytes(size), noise):
        pieces = [piece async for piece in inflate(PACK[encoding](body), encoding)]
        assert b"".join(pieces) == body
        assert max(map(len, pieces), default=0) <= PIECE


@settings(deadline=None)
@given(st.binary(max_size=300), encodings)
async def test_any_bytes_are_inflated_or_bad_input(body: bytes, encoding: str) -> None:
    with pytest.raises(BadInput):
        await inflated(body, encoding)


@pytest.mark.parametrize("encoding", PACK)
async def test_damage_is_seen(encoding: str) -> None:
    packed = PACK[encoding](b"some text" * 100)
    for bad in (packed[:-1], packed[:10], b"", packed[:-3] + b"abc", packed + b"x", packed * 2):
        with pytest.raises(BadInput, match=encoding):
            await inflated(bad, encoding)


async def test_a_bomb_is_stopped_by_who_counts() -> None:
    """100 MB in 100 kB: after the first piece the reader has had enough, and no more is made."""
    bomb: AsyncIterator[bytes] = inflate(gzip.compress(bytes(100_000_000)), "gzip")
    assert len(await anext(bomb)) == PIECE


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("deflate, gzip", "deflate"),
        ("br, zstd, gzip;q=0.5", "gzip"),
        ("gzip;q=0", None),
        ("gzip; q=0, deflate", "deflate"),
        ("GZIP", "gzip"),
        ("identity", None),
        ("", None),
        ("*", None),
    ],
)
def test_what_the_client_accepts(accept: str, expected: str | None) -> None:
    request = Request({"type": "http", "headers": [(b"accept-encoding", accept.encode())]})
    assert accepted_encoding(request) == expected
