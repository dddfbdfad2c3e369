"""What a load counts, against a server that answers well, badly, late, or not at all."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from app.errors import BadInput
from app.http_connection import Address
from app.load_generator import CLOSED, REFUSED, TIMED_OUT, Load, Seen, send_load
from tests.app.scripted_server import CLOSE, OK, UNAVAILABLE, ok, scripted_server


def load_of(url: str, *bodies: bytes, clients: int = 1, seconds: float = 0.2) -> tuple[Address, Load]:
    address = Address.of(url)
    requests = [address.post("/predict", "image/png", body) for body in bodies or (b"x",)]
    return address, Load(requests=requests, clients=clients, seconds=seconds)


async def test_every_request_is_counted_once() -> None:
    async def every_third_refused(number: int) -> bytes:
        return UNAVAILABLE if number % 3 == 0 else OK

    async with scripted_server(every_third_refused) as server:
        seen = await send_load(*load_of(server.url, clients=4))
    sent = len(server.requests)
    assert sent > 10
    assert seen.errors == {"HTTP 503": sent // 3}
    assert seen.answered == len(seen.ended) == sent - sent // 3
    assert seen.failed == sent // 3
    assert seen.rate == pytest.approx(seen.answered / seen.seconds)
    assert server.connections == 4, "an error status does not cost the connection"


async def test_requests_go_in_turns() -> None:
    async with scripted_server(ok) as server:
        await send_load(*load_of(server.url, b"a", b"bb", b"ccc"))
    bodies = [body for _, body in server.requests]
    assert bodies[:6] == [b"a", b"bb", b"ccc"] * 2
    assert server.requests[0][0] == "POST /predict HTTP/1.1"


async def test_all_clients_send_at_the_same_time() -> None:
    """The server answers nobody before all of them have asked."""
    all_there = asyncio.Barrier(7)

    async def together(number: int) -> bytes:
        if number <= 7:
            await all_there.wait()
        return OK

    async with scripted_server(together) as server:
        seen = await send_load(*load_of(server.url, clients=7))
    assert server.connections == 7
    assert seen.answered == len(server.requests) >= 7
    assert not seen.errors


async def test_a_connection_that_is_closed_instead_of_an_answer() -> None:
    async def every_other_closed(number: int) -> bytes:
        return CLOSE if number % 2 == 0 else OK

    async with scripted_server(every_other_closed) as server:
        seen = await send_load(*load_of(server.url))
    assert seen.errors == {CLOSED: len(server.requests) // 2}
    assert seen.answered == (len(server.requests) + 1) // 2


async def test_a_late_answer_is_not_the_next_requests() -> None:
    """Its connection is given up; the answer, a 500, would otherwise be counted for somebody else."""

    async def first_is_late(number: int) -> bytes:
        if number == 1:
            await asyncio.sleep(0.15)
            return b"HTTP/1.1 500 Late\r\nContent-Length: 0\r\n\r\n"
        return OK

    async with scripted_server(first_is_late) as server:
        address, load = load_of(server.url, seconds=0.3)
        seen = await send_load(address, load, timeout_s=0.1)
    assert seen.errors == {TIMED_OUT: 1}
    assert seen.answered == len(server.requests) - 1
    assert server.connections == 2


async def test_nobody_there() -> None:
    async with scripted_server(ok) as server:
        pass
    seen = await send_load(*load_of(server.url, clients=2))
    assert set(seen.errors) == {REFUSED}
    assert seen.failed < 20, "an address where nobody listens is asked now and then"
    assert seen.rate == 0
    assert seen.latency_ms() == {}


@pytest.mark.parametrize(
    ("answer", "connections"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 1),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 1),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", None),
    ],
)
async def test_forms_of_answers(answer: bytes, connections: int | None) -> None:
    async def always(_number: int) -> bytes:
        return answer

    async with scripted_server(always) as server:
        seen = await send_load(*load_of(server.url, seconds=0.1))
    assert not seen.errors
    assert seen.answered == len(server.requests) > 1
    assert server.connections == (connections or seen.answered)


async def test_what_is_no_http() -> None:
    async def garbage(_number: int) -> bytes:
        return b"SSH-2.0-OpenSSH_9.6\r\n"

    async with scripted_server(garbage) as server:
        seen = await send_load(*load_of(server.url, seconds=0.05))
    assert seen.errors == {CLOSED: len(server.requests)}


async def test_somebody_may_watch() -> None:
    """The third answer waits until two were seen; the watcher, which goes on for ever, ends with the load."""
    counts: list[int] = []
    two_were_seen = asyncio.Event()

    async def watch(seen: Seen) -> None:
        while True:
            counts.append(seen.answered)
            if seen.answered == 2:
                two_were_seen.set()
            await asyncio.sleep(0.001)

    async def third_waits(number: int) -> bytes:
        if number == 3:
            await two_were_seen.wait()
        return OK

    async with scripted_server(third_waits) as server, asyncio.timeout(30) as limit:
        seen = await send_load(*load_of(server.url, seconds=0.5), beside=watch)
    assert not limit.expired()
    assert counts == sorted(counts)
    assert 2 in counts
    assert counts[-1] <= seen.answered


async def test_a_watcher_may_end_the_load() -> None:
    async def three(seen: Seen) -> None:
        while seen.answered < 3:  # noqa: ASYNC110 (what is seen has no event)
            await asyncio.sleep(0.001)

    async with scripted_server(ok) as server, asyncio.timeout(60):
        seen = await send_load(*load_of(server.url, seconds=600.0), beside=three)
    assert seen.answered >= 3


async def test_a_request_that_failed_is_sent_once_more() -> None:
    """Of requests 2 and 3 (the same one, repeated) the second is answered; 5 and 6 both fail, and it is lost."""

    async def some_fail(number: int) -> bytes:
        return {2: UNAVAILABLE, 5: UNAVAILABLE, 6: CLOSE}.get(number, OK)

    async with scripted_server(some_fail) as server:
        address, load = load_of(server.url, b"a", b"bb", b"ccc", b"dddd")
        seen = await send_load(address, replace(load, retry_after_s=0.01))
    bodies = [body for _, body in server.requests]
    assert bodies[:7] == [b"a", b"bb", b"bb", b"ccc", b"dddd", b"dddd", b"a"]
    assert seen.errors == {"HTTP 503": 2}
    assert seen.lost == {CLOSED: 1}
    assert len(seen.repeated) == 1
    assert seen.repeated[0] >= 0.01
    assert len(seen.failed_at) == 2
    assert 0 < seen.failed_at[0] < seen.failed_at[1] < seen.seconds
    assert seen.answered == len(server.requests) - 4, "what a repetition brings is neither an answer nor an error"


async def test_clients_may_pause() -> None:
    async with scripted_server(ok) as server:
        address, load = load_of(server.url, clients=2)
        seen = await send_load(address, replace(load, pause_s=0.05))
    assert 2 <= seen.answered <= 2 * 5


async def test_what_a_watcher_raises_is_not_lost() -> None:
    async def broken(_seen: Seen) -> None:
        raise ZeroDivisionError

    async with scripted_server(ok) as server:
        address, load = load_of(server.url, seconds=0.05)
        with pytest.raises(ZeroDivisionError):
            await send_load(address, load, beside=broken)


def test_latency() -> None:
    seen = Seen(latencies=[number / 1000 for number in range(1, 101)])
    assert seen.latency_ms() == {"p50": 50.5, "p95": 95.05, "p99": 99.01, "max": 100.0}


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://localhost:8000", Address("localhost", 8000, False, "")),
        ("http://localhost:8000/", Address("localhost", 8000, False, "")),
        ("https://example.org", Address("example.org", 443, True, "")),
        ("http://[::1]/models/a/", Address("::1", 80, False, "/models/a")),
    ],
)
def test_addresses(url: str, address: Address) -> None:
    assert Address.of(url) == address


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://localhost", "http://", "http://localhost:70000", "http://["])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(BadInput, match="no URL"):
        Address.of(url)


def test_the_bytes_of_a_request() -> None:
    request = Address.of("http://[::1]:81/a").post("/predict", "image/png", b"\x00\xff")
    assert request == (
        b"POST /a/predict HTTP/1.1\r\nHost: [::1]:81\r\nContent-Type: image/png\r\nContent-Length: 2\r\n\r\n\x00\xff"
    )
