"""The engine's server against the Python service: the same requests, the same answers. And its manners under load."""

from __future__ import annotations

import base64
import contextlib
import json
import signal
import socket
import struct
import subprocess
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.app.pictures import encoded, png_chunk, rgb
from tests.engine.running import RunningServer, start_server
from tests.engine.same_answer import Sent, assert_the_same_answer, b64
from tests.serve_deployments.fakes import colour_png
from tests.serve_deployments.openapi_document import schema_for

RED, GREEN, BLUE = (colour_png(channel) for channel in range(3))
JSON = {"content-type": "application/json"}
PNG = {"content-type": "image/png"}
FORM = {"content-type": "multipart/form-data; boundary=XX"}


def predict(**values: object) -> Sent:
    return "POST", "/predict", JSON, json.dumps(values).encode()


def raw(body: bytes, query: str = "", **headers: str) -> Sent:
    return "POST", f"/predict{query}", {**PNG, **headers}, body


def batch(*images: object, **values: object) -> Sent:
    return "POST", "/predict/batch", JSON, json.dumps({"images": images, **values}).encode()


def form(*parts: bytes, end: bytes = b"--XX--\r\n", content_type: str = FORM["content-type"]) -> Sent:
    return "POST", "/predict", {"content-type": content_type}, b"".join(parts) + end


def part(disposition: str, content: bytes) -> bytes:
    return f"--XX\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode() + content + b"\r\n"


def upload(content: bytes, name: str = "image") -> bytes:
    return part(f'name="{name}"; filename="image.png"', content)


TOP_KS: list[object] = [0, -1, "x", "3", 1.5, True, None, [], {}, 1e300, 2**63]
USER_IDS: list[object] = ["", 3, "x" * 257, "ä" * 256, []]
ITEMS: list[object] = [None, 3, "x", [], {}, {"image": 3}, {"Image": "x"}, {"image": ""}]
BOMB = RED[:16] + (100_000).to_bytes(4) * 2 + RED[24:]
REQUESTS = [
    *(("GET", path, {}, b"") for path in ("/health", "/health/live", "/health/ready", "/model/info")),
    *(("GET", path, {}, b"") for path in ("/", "/nope", "/predict/", "/Predict", "/%00", "//predict", "/a%ffb")),
    *((method, "/predict", {}, b"") for method in ("GET", "PUT", "DELETE", "OPTIONS", "HEAD")),
    *((method, "/health", {}, b"") for method in ("POST", "PUT", "BREW")),
    ("HEAD", "/health/live", {}, b""),
    predict(image=b64(RED)),
    predict(image=b64(GREEN), top_k=2),
    predict(image=b64(BLUE), top_k=99, user_id="ann"),
    predict(image=b64(BLUE), top_k=2.0, user_id=None),
    predict(image=f"data:image/png;base64,{b64(BLUE)}"),
    predict(image=f"DATA:image/png;charset=utf-8;BASE64,{b64(BLUE)}"),
    predict(image=base64.encodebytes(BLUE).decode()),
    predict(image=f"data:image/png;base64,{base64.encodebytes(BLUE).decode()}"),
    predict(image=b64(encoded(rgb(300, 400), "JPEG"))),
    predict(image=b64(BOMB)),
    *(predict(image=b64(RED), top_k=top_k) for top_k in TOP_KS),
    *(predict(image=b64(RED), user_id=user_id) for user_id in USER_IDS),
    *(predict(image=image) for image in (None, 3, ["a"], "", "data:image/png;base64,", "data:image/png,abc")),
    *(predict(image=image) for image in ("not base64!", "abcde", "aGVsbG8=", "ä", "aGVsbG8", "a===", "YQ==YQ==")),
    predict(),
    ("POST", "/predict", {"content-type": "application/vnd.x+json"}, json.dumps({"image": b64(RED)}).encode()),
    ("POST", "/predict", JSON, b'{"image": "AAAA", "image": "' + b64(RED).encode() + b'"}'),
    *(("POST", "/predict", JSON, body) for body in (b"", b"{", b"\xff\xfe", b"[]", b"3", b"null", b"[" * 5000)),
    ("POST", "/predict", JSON, b'{"image": NaN}'),
    raw(RED),
    raw(encoded(rgb(), "WEBP"), "?top_k=1"),
    raw(encoded(rgb(400, 500), "BMP"), "", **{"content-type": "Image/BMP; q=1"}),
    raw(RED, **{"content-type": "application/octet-stream"}),
    raw(RED, **{"content-encoding": "gzip"}),
    raw(RED, **{"x-request-id": "chosen-by.me:1"}),
    *(raw(body) for body in (b"", b"not an image", RED[:40], RED[:-20], b"\x89PNG\r\n\x1a\n", b"x" * 65537)),
    *(raw(RED, f"?top_k={top_k}") for top_k in ("0", "-1", "x", "1.5", "", "1_0", "+1", "%2B2", "%201", "9" * 500)),
    *(raw(RED, **{"content-type": kind}) for kind in ("text/plain", "video/mp4", "", "json", "image")),
    raw(RED, "?user_id="),
    raw(RED, "?user_id=ann&quality="),
    predict(image=b64(RED), quality=3),
    predict(image=b64(RED), quality="fast"),
    raw(RED, **{"x-user-id": "ann", "x-model-version": "1"}),
    raw(RED, **{"x-user-id": "x" * 257}),
    raw(RED, **{"x-model-version": ""}),
    raw(RED, **{"x-model-version": "2"}),
    form(upload(RED)),
    form(upload(BLUE), part('name="top_k"', b"1"), part('name="user_id"', b"ann")),
    form(part('name="top_k"', b"2"), upload(GREEN, "any"), end=b"--XX--"),
    form(upload(RED), part('name="top_k"', b"1.5")),
    form(upload(RED), part('name="top_k"', b"")),
    form(upload(RED), part('name="user_id"', b"")),
    form(upload(RED), upload(RED)),
    form(upload(RED), upload(RED), upload(RED)),
    form(part('name="image"', RED)),
    form(upload(b"")),
    form(upload(b"no image")),
    form(upload(RED), end=b""),
    form(upload(RED)[:-40]),
    form(part('filename="x"', RED)),
    form(upload(RED), content_type="multipart/form-data"),
    form(upload(RED), content_type='Multipart/Form-Data; charset=utf-8; boundary="XX"'),
    form(upload(RED), content_type="multipart/form-data; boundary=YY"),
    form(end=b""),
    form(b"no form", end=b""),
    ("POST", "/predict?top_k=1", FORM, upload(RED) + b"--XX--"),
    batch({"image": b64(RED)}, {"image": "!"}, 7, {"image": b64(b"no image")}, {"image": b64(BLUE)}, top_k=1),
    *(batch(item, {"image": b64(GREEN)}) for item in ITEMS),
    batch(3),
    batch(),
    batch(*[{"image": ""}] * 6),
    batch({"image": b64(RED)}, top_k=0),
    ("POST", "/predict/batch", JSON, b'{"images": 3}'),
    ("POST", "/predict/batch", PNG, RED),
]


# Of a form that is cut off, Starlette leaves the temporary file to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("request_", REQUESTS, ids=range(len(REQUESTS)))
async def test_the_same_answer_as_the_python_service(
    python_service: httpx.AsyncClient, server: RunningServer, request_: Sent
) -> None:
    await assert_the_same_answer(python_service, server.url, request_)


@pytest.mark.parametrize(
    ("path", "method", "status", "body"),
    [
        ("/predict", "post", 200, {"image": b64(RED)}),
        ("/predict", "post", 400, {}),
        ("/predict/batch", "post", 200, {"images": [{"image": b64(RED)}, {}]}),
        ("/health", "get", 200, None),
        ("/health/live", "get", 200, None),
        ("/health/ready", "get", 200, None),
        ("/model/info", "get", 200, None),
    ],
)
def test_answers_are_what_the_schema_says(
    server: RunningServer, path: str, method: str, status: int, body: object
) -> None:
    reply = httpx.request(method, server.url + path, json=body)
    assert reply.status_code == status
    kind = reply.headers["content-type"]
    jsonschema.validate(reply.json(), schema_for(path, method, status, kind))


ROUTES = ["/predict", "/predict/batch", "/predict?top_k=2", "/v2/models/colours/infer", "/health", "/metrics", "/v2"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just(b64(RED)),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["image", "images", "top_k", "inputs", "name", "shape", "data", "datatype"]), inner
        )
    ),
    max_leaves=20,
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    route=st.sampled_from(ROUTES),
    method=st.sampled_from(["POST", "POST", "POST", "GET", "PUT"]),
    kind=st.sampled_from(
        [
            "application/json",
            "image/png",
            "image/jpeg",
            "text/plain",
            "application/octet-stream",
            "multipart/form-data; boundary=XX",
        ]
    ),
    json_bytes=st.none() | st.integers(-1, 300),
    body=st.one_of(VALUES.map(lambda value: json.dumps(value).encode()), st.binary(max_size=300), st.just(RED)),
)
def test_no_request_is_answered_with_a_server_error(
    server: RunningServer, route: str, method: str, kind: str, json_bytes: int | None, body: bytes
) -> None:
    headers = {"content-type": kind}
    if json_bytes is not None:
        headers["inference-header-content-length"] = str(json_bytes)
    reply = httpx.request(method, server.url + route, content=body, headers=headers)
    assert reply.status_code < 500, reply.text
    if reply.status_code >= 400:
        assert reply.json()["error"]


def test_metrics_are_prometheus_text(server: RunningServer) -> None:
    httpx.post(f"{server.url}/predict", content=RED, headers=PNG)
    reply = httpx.get(f"{server.url}/metrics")
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    names = {line.split("{")[0].split(" ")[0] for line in reply.text.splitlines() if not line.startswith("#")}
    described = {line.split()[2] for line in reply.text.splitlines() if line.startswith("# TYPE")}
    assert all(any(name.startswith(known) for known in described) for name in names)
    assert "manta_http_requests_total" in names
    for line in reply.text.splitlines():
        if not line.startswith("#"):
            float(line.rpartition(" ")[2])


def test_too_many_images_at_once_get_503_and_the_others_their_answer(build: Path, golden: Path) -> None:
    limits = ("--max-queued-images", "4", "--max-images", "2", "--max-batch", "1", "--loops", "1")
    body = {"images": [{"image": b64(GREEN)}] * 2, "top_k": 1}
    with start_server(build, golden / "bundles" / "network", *limits) as server, ThreadPoolExecutor(32) as threads:
        together = threading.Barrier(32)

        def ask(_: int) -> list[httpx.Response]:
            with httpx.Client() as client:
                client.get(f"{server.url}/health/live")
                together.wait()
                return [client.post(f"{server.url}/predict/batch", json=body) for _ in range(20)]

        replies = [reply for each in threads.map(ask, range(32)) for reply in each]
        codes = {reply.status_code for reply in replies}
        assert codes <= {200, 503}
        for reply in replies:
            if reply.status_code == 503:
                assert reply.headers["retry-after"] == "1"
            else:
                assert len(reply.json()["batch_predictions"]) == 2


def test_sigterm_answers_what_was_accepted(build: Path, golden: Path) -> None:
    with start_server(build, golden / "bundles" / "network") as server, ThreadPoolExecutor(8) as threads:
        statuses: list[int] = []
        failures: list[Exception] = []
        started = threading.Event()

        def ask() -> None:
            with httpx.Client() as client:
                while True:
                    try:
                        reply = client.post(f"{server.url}/predict", content=RED, headers=PNG)
                    except httpx.TransportError as error:
                        failures.append(error)
                        return
                    statuses.append(reply.status_code)
                    if len(statuses) > 100:
                        started.set()
                    if reply.headers.get("connection") == "close":
                        return

        clients = [threads.submit(ask) for _ in range(8)]
        assert started.wait(timeout=30)
        assert server.end() == 0
        for client in clients:
            client.result(timeout=30)
        assert set(statuses) == {200}
        # A request that met a closed port, or was sent just as its idle connection ended, was never accepted.
        assert all(
            isinstance(error, httpx.ConnectError | httpx.RemoteProtocolError | httpx.ReadError | httpx.WriteError)
            for error in failures
        )


def test_sigterm_as_soon_as_it_listens_is_an_orderly_end(build: Path, golden: Path) -> None:
    for _ in range(5):
        with start_server(build, golden / "bundles" / "colours", "--loops", "1") as server:
            assert server.end() == 0


def empty_png(side: int) -> bytes:
    """A square of black and white pixels: a few bytes that take long to decode."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    rows = zlib.compress(bytes((side // 8 + 1) * side), 9)
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")


def send_post(server: RunningServer, path: str, kind: str, body: bytes) -> socket.socket:
    """Sends a request whose answer is not waited for."""
    client = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    head = f"POST {path} HTTP/1.1\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    client.sendall(head.encode() + body)
    return client


def all_of(client: socket.socket) -> bytes:
    """What the server sends until it closes."""
    return b"".join(iter(lambda: client.recv(65536), b""))


def answer_to(server: RunningServer, request: bytes) -> bytes:
    """To a request as it goes over the wire, whose connection the server closes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(request)
        return all_of(client)


CHUNKED = b"POST /predict HTTP/1.1\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("start", [b"1;", b"0\r\nX: "], ids=["chunk extension", "trailer"])
def test_what_surrounds_chunks_is_bounded(server: RunningServer, start: bytes) -> None:
    before = server.resident_bytes()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(CHUNKED + start)
        with contextlib.suppress(ConnectionError):
            for _ in range(48):
                client.sendall(b"a" * (1 << 20))
        assert server.resident_bytes() - before < 16 << 20
    assert b" 431 " in answer_to(server, CHUNKED + start + b"a" * 17_000).split(b"\r\n")[0]


def test_chunks_with_short_extensions_and_a_trailer_are_read(server: RunningServer) -> None:
    body = b"".join(b"%x;name=value\r\n%b\r\n" % (len(part), part) for part in (RED[:9], RED[9:]))
    request = CHUNKED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + body + b"0\r\nX-Sum: 1\r\n\r\n"
    assert answer_to(server, request).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("version", "encodings", "status"),
    [
        (b"1.1", [b"chunked, identity"], 501),
        (b"1.1", [b"gzip"], 501),
        (b"1.1", [b"gzip, chunked"], 501),
        (b"1.1", [b""], 501),
        (b"1.1", [b"identity", b"chunked"], 501),
        (b"1.1", [b"chunked", b"chunked"], 400),
        (b"1.0", [b"chunked"], 400),
    ],
)
def test_a_transfer_encoding_that_is_not_chunked_is_refused(
    server: RunningServer, version: bytes, encodings: list[bytes], status: int
) -> None:
    """What follows must not be taken for another request."""
    headers = b"".join(b"Transfer-Encoding: %b\r\n" % encoding for encoding in encodings)
    for length in (b"", b"Content-Length: 3\r\n"):
        head = b"POST /health HTTP/" + version + b"\r\n" + headers + length + b"\r\n"
        answer = answer_to(server, head + b"0\r\n\r\nGET /health/live HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert int(answer.split()[1]) in {status, 400}
        assert answer.count(b"HTTP/1.1 ") == 1
        assert b"alive" not in answer


def test_chunked_in_any_letters_is_taken(server: RunningServer) -> None:
    request = b"GET /health/live HTTP/1.1\r\nConnection: close\r\nTransfer-Encoding:  CHUNKED \r\n\r\n0\r\n\r\n"
    assert answer_to(server, request).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("start", [b"GET /health HTTP/1.1\r\nX: ", CHUNKED + b"fffff\r\n"], ids=["header", "body"])
def test_a_byte_now_and_then_does_not_keep_a_request_open(build: Path, golden: Path, start: bytes) -> None:
    with (
        start_server(build, golden / "bundles" / "colours", "--read-seconds", "1") as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=0.3) as client,
    ):
        client.sendall(start)
        answer = b""
        for _ in range(15):
            client.sendall(b"a")
            with contextlib.suppress(TimeoutError):
                answer = client.recv(65536)
                break
        assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_body_that_keeps_its_pace_may_take_its_time(build: Path, golden: Path) -> None:
    with (
        start_server(build, golden / "bundles" / "colours", "--read-seconds", "1") as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as client,
    ):
        body = RED.ljust(60_000, b"\0")
        head = f"POST /predict HTTP/1.1\r\nContent-Type: image/png\r\nContent-Length: {len(body)}\r\n\r\n"
        client.sendall(head.encode())
        for at in range(0, len(body), 6000):
            client.sendall(body[at : at + 6000])
            time.sleep(0.3)
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_idle_connections_make_room_for_new_ones(build: Path, golden: Path) -> None:
    with (
        start_server(build, golden / "bundles" / "colours", "--max-connections", "4") as server,
        contextlib.ExitStack() as clients,
    ):
        for _ in range(10):
            client = clients.enter_context(httpx.Client(timeout=10))
            assert client.get(f"{server.url}/health/live").status_code == 200


def test_idle_connections_keep_little_memory(build: Path, golden: Path) -> None:
    image = b64(RED.ljust(90_000, b"x"))
    body = json.dumps({"images": [{"image": image}] * 256, "top_k": 1}).encode()
    with (
        start_server(build, golden / "bundles" / "network", "--loops", "1") as server,
        contextlib.ExitStack() as clients,
    ):
        sizes = []
        for _ in range(12):
            client = clients.enter_context(httpx.Client(timeout=30))
            reply = client.post(f"{server.url}/predict/batch", content=body, headers=JSON)
            assert reply.status_code == 200
            time.sleep(0.1)  # it is released once the answer has left
            sizes.append(server.resident_bytes())
    assert sizes[-1] - sizes[0] < 96 << 20  # 22 MB of images each; the allocator keeps some


LARGE_BATCH = json.dumps({"images": [{"image": b64(empty_png(4000))}] * 16}).encode()


def status_of(client: socket.socket) -> int:
    return int(client.recv(65536).split()[1])


def test_what_waits_for_decoding_is_bounded_in_time(build: Path, golden: Path) -> None:
    options = ("--decode-threads", "1", "--queue-seconds", "0.2", "--loops", "1")
    with start_server(build, golden / "bundles" / "network", *options) as server, contextlib.ExitStack() as clients:
        large = clients.enter_context(send_post(server, "/predict/batch", "application/json", LARGE_BATCH))
        time.sleep(0.05)
        started = time.monotonic()
        small = clients.enter_context(send_post(server, "/predict", "image/png", empty_png(400)))
        assert status_of(large) == 504
        status_of(small)  # 200 or 504, depending on how long the image that was in hand took
        assert time.monotonic() - started < 1.5
        assert httpx.post(f"{server.url}/predict", content=empty_png(400), headers=PNG).status_code == 200


def test_what_waits_for_decoding_is_bounded_in_pixels(build: Path, golden: Path) -> None:
    options = ("--decode-threads", "1", "--max-pixels-in-all", "300000000", "--queue-seconds", "60")
    with start_server(build, golden / "bundles" / "network", *options) as server, contextlib.ExitStack() as clients:
        first = clients.enter_context(send_post(server, "/predict/batch", "application/json", LARGE_BATCH))
        time.sleep(0.05)
        assert "manta_waiting_pixels 2560" in httpx.get(f"{server.url}/metrics").text
        reply = httpx.post(f"{server.url}/predict/batch", content=LARGE_BATCH, headers=JSON)
        assert reply.status_code == 503
        assert reply.headers["retry-after"] == "1"
        assert status_of(first) == 200
        assert "manta_waiting_pixels 0\n" in httpx.get(f"{server.url}/metrics").text
        larger = json.dumps({"images": [{"image": b64(empty_png(4000))}] * 19}).encode()
        reply = httpx.post(f"{server.url}/predict/batch", content=larger, headers=JSON)
        assert reply.status_code == 413
        assert reply.json()["error"] == "the images have 304,000,000 pixels together, the limit is 300,000,000"


def test_the_memory_of_decoding_is_counted(build: Path, golden: Path) -> None:
    """The input of five images of 32x32 to the model takes 15,360 bytes."""
    options = ("--max-body-bytes", "10000", "--max-body-bytes-in-all", "12000")
    images = {"images": [{"image": b64(RED)}] * 5}
    with start_server(build, golden / "bundles" / "network", *options) as server:
        reply = httpx.post(f"{server.url}/predict/batch", json=images)
        assert reply.status_code == 413
        assert "bytes of memory, the limit is 12,000" in reply.json()["error"]
        assert httpx.post(f"{server.url}/predict", content=RED, headers=PNG).status_code == 200
        assert "manta_body_bytes 0\n" in httpx.get(f"{server.url}/metrics").text


@pytest.mark.parametrize("second_signal", [True, False])
def test_an_end_that_cannot_wait_drops_what_is_to_be_decoded(build: Path, golden: Path, second_signal: bool) -> None:
    options = ("--decode-threads", "1", "--drain-seconds", "60" if second_signal else "0.2")
    with start_server(build, golden / "bundles" / "network", *options) as server, contextlib.ExitStack() as clients:
        for _ in range(4):
            clients.enter_context(send_post(server, "/predict/batch", "application/json", LARGE_BATCH))
        time.sleep(0.3)
        started = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        if second_signal:
            time.sleep(0.2)
            server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=60) == 0
        assert time.monotonic() - started < 3


def test_memory_stays_flat_and_small(build: Path, golden: Path, tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"image": b64(encoded(rgb(32, 32), "JPEG"))}))
    with start_server(build, golden / "bundles" / "network", "--loops", "2") as server:

        def load(seconds: str) -> dict[str, Any]:
            command = [str(build / "bin" / "manta-load"), str(server.port), "/predict", "application/json", str(body)]
            done = subprocess.run([*command, "32", seconds], capture_output=True, text=True, check=True, timeout=60)
            answer: dict[str, Any] = json.loads(done.stdout)
            return answer

        load("2")
        before = server.resident_bytes()
        result = load("6")
        after = server.resident_bytes()
    assert result["errors"] == 0, result["first_error"]
    assert result["requests"] > 100
    assert after - before < 2 << 20
    assert after < 110 << 20
