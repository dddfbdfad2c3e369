"""The HTTP client against a small server that answers well, badly, or not at all."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from app.client import ServiceClient, evaluate_over_http
from app.errors import BadInput, ClusterError, MantaError, NotFound
from app.imaging import decode, encode_png


@dataclass
class Service:
    """A server on a free port. It classifies by the strongest channel unless `answer` is set."""

    url: str = ""
    answer: tuple[int, str, bytes] | None = None
    """Status, content type and body of every answer."""
    fail_from: int | None = None
    """Number of the request from which on connections are closed without an answer."""
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path with query, content type."""
    lock: threading.Lock = field(default_factory=threading.Lock)


@pytest.fixture
def service() -> Iterator[Service]:
    state = Service()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.handle_any({"status": "healthy"})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            try:
                image = decode(body)
            except MantaError:
                image = np.zeros((1, 1, 3), np.uint8)
            index = int(image.mean((0, 1)).argmax())
            top_k = int(parse_qs(urlsplit(self.path).query)["top_k"][0])
            self.handle_any(
                {
                    "predictions": [{"class_id": index, "class_name": "rgb"[index], "confidence": 1.0}][:top_k],
                    "model_version": "colours/1",
                    "body": base64.b64encode(body).decode(),
                }
            )

        def handle_any(self, content: object) -> None:
            with state.lock:
                state.requests.append((self.command, self.path, self.headers.get("Content-Type", "")))
                number = len(state.requests)
            if state.fail_from is not None and number >= state.fail_from:
                self.close_connection = True
                return
            status, kind, body = state.answer or (200, "application/json", json.dumps(content).encode())
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def client(service: Service) -> Iterator[ServiceClient]:
    with ServiceClient(service.url + "/") as client:
        yield client


@pytest.fixture
def nobody(service: Service) -> str:
    """An address where nobody listens."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    url = f"http://127.0.0.1:{server.server_port}"
    server.server_close()
    return url


def images(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of one strong channel each, and its number."""
    labels = np.arange(count) % 3
    pixels = np.random.default_rng(0).integers(0, 50, (count, 4, 5, 3), dtype=np.uint8)
    pixels[np.arange(count), ..., labels] += 100
    return pixels, labels


def test_get(client: ServiceClient, service: Service) -> None:
    assert client.get("/health") == {"status": "healthy"}
    assert service.requests == [("GET", "/health", "")]


def test_an_image_is_sent_as_it_is(client: ServiceClient, service: Service) -> None:
    answer = client.predict(b"any bytes", "image/webp", top_k=1)
    assert base64.b64decode(answer["body"]) == b"any bytes"
    assert service.requests == [("POST", "/predict?top_k=1", "image/webp")]


@pytest.mark.parametrize(
    ("status", "error"), [(404, NotFound), (400, BadInput), (413, BadInput), (503, ClusterError), (500, MantaError)]
)
def test_the_services_own_words_and_the_matching_error(
    client: ServiceClient, service: Service, status: int, error: type[MantaError]
) -> None:
    service.answer = (status, "application/json", b'{"error": "the reason", "title": "x"}')
    with pytest.raises(MantaError) as caught:
        client.get("/health")
    assert type(caught.value) is error
    assert str(caught.value) == f"the service answers {status}: the reason"


@pytest.mark.parametrize(
    ("status", "body", "text"),
    [
        (500, b"plain\n  text", "plain text"),
        (502, b"", "Bad Gateway"),
        (500, b'["a", "list"]', '["a", "list"]'),
        (302, b"", "Found"),
        (500, b"x" * 5000, "x" * 200),
        (500, b'{"error": null}', '{"error": null}'),
    ],
)
def test_any_other_answer_is_one_line(
    client: ServiceClient, service: Service, status: int, body: bytes, text: str
) -> None:
    service.answer = (status, "text/plain", body)
    with pytest.raises(MantaError) as caught:
        client.get("/health")
    assert str(caught.value) == f"the service answers {status}: {text}"


@pytest.mark.parametrize("body", [b"<html>Welcome to nginx!</html>", b"[]", b"", b"\xff\xfe"])
def test_somebody_elses_success_is_not_an_answer(client: ServiceClient, service: Service, body: bytes) -> None:
    service.answer = (200, "text/html", body)
    with pytest.raises(MantaError, match="the service answers 200"):
        client.get("/health")


def test_nobody_there(nobody: str) -> None:
    with ServiceClient(nobody) as client, pytest.raises(ClusterError, match=rf"no answer from {nobody} .*manta serve"):
        client.get("/health")


def test_an_answer_that_never_comes(service: Service) -> None:
    service.fail_from = 1
    with ServiceClient(service.url) as client, pytest.raises(ClusterError, match="no answer"):
        client.predict(b"x", "image/png")


def test_proxies_of_the_environment_are_not_used(
    client: ServiceClient, nobody: str, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", nobody)
    monkeypatch.setenv("ALL_PROXY", nobody)
    with ServiceClient(service.url) as fresh:
        assert fresh.get("/health") == {"status": "healthy"}
    pixels, labels = images(2)
    assert evaluate_over_http(service.url, pixels, labels).accuracy == 1


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_whole_split(service: Service, concurrency: int) -> None:
    pixels, labels = images(30)
    wrong = labels.copy()
    wrong[:3] = (wrong[:3] + 1) % 3
    found = evaluate_over_http(service.url, pixels, wrong, concurrency=concurrency, latency_samples=5)
    assert found.answers.tolist() == labels.tolist()
    assert found.answers.dtype == np.int64
    assert found.accuracy == 0.9
    assert found.versions == {"colours/1"}
    assert 0 < found.p50_ms <= found.p99_ms
    assert len(service.requests) == 5 + 5 + 30, "latency: five not counted and five counted"
    assert set(service.requests) == {("POST", "/predict?top_k=1", "image/png")}


def test_images_arrive_without_loss(client: ServiceClient) -> None:
    (image,), _ = images(1)
    answer = client.predict(encode_png(image), "image/png")
    assert (decode(base64.b64decode(answer["body"])) == image).all()


@pytest.mark.parametrize("fail_from", [1, 25])
def test_a_service_that_dies_is_one_error(service: Service, fail_from: int) -> None:
    """Also in the middle, where several requests fail at once."""
    service.fail_from = fail_from
    pixels, labels = images(30)
    with pytest.raises(ClusterError, match="no answer from http://127"):
        evaluate_over_http(service.url, pixels, labels, latency_samples=5)


def test_a_service_that_refuses_is_one_error(service: Service) -> None:
    service.answer = (503, "application/json", b'{"error": "not ready"}')
    pixels, labels = images(3)
    with pytest.raises(ClusterError, match="answers 503: not ready"):
        evaluate_over_http(service.url, pixels, labels)
