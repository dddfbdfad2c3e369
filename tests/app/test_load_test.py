"""A whole load test against a real HTTP server that answers as the service does."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from app.errors import BadInput, ClusterError
from app.imaging import read_header
from app.load_generator import Seen
from app.load_report import errors_text, generator_text, memory_text, write_report
from app.load_test import LoadImage, LoadPlan, LoadRow, SoakRecorder, read_images, run_load_test, synthetic_images
from app.service_memory import MemoryReading
from tests.serve_deployments.fakes import colour_png
from tests.serve_deployments.http_service import HttpService, http_service

SHORT = LoadPlan(clients=(1, 3), batch_sizes=(1, 4), seconds=0.1, soak_seconds=0.3, soak_clients=2)


@pytest.fixture
def service() -> Iterator[HttpService]:
    with http_service() as running:
        yield running


def colours(count: int = 3) -> list[LoadImage]:
    return [LoadImage(name=f"{number}.png", data=colour_png(number)) for number in range(count)]


def test_a_whole_test(service: HttpService, tmp_path: Path) -> None:
    service.memory = 50_000_000
    rows: list[LoadRow] = []
    result = run_load_test(service.url, SHORT, on_row=rows.append)
    loads = [(row.name, row.clients, row.images) for row in result.rows]
    assert loads == [
        ("single images", 1, 1),
        ("single images", 3, 1),
        ("batches", 1, 1),
        ("batches", 1, 4),
        ("soak", 2, 1),
    ]
    assert list(result.rows) == rows
    assert (result.model, result.model_version, result.image_source) == ("colours", "7", "synthetic, 8x8 pixels")
    assert not any(row.errors for row in result.rows)
    singles = sum(row.answers for row in result.rows if row.name != "batches")
    assert service.paths["/predict"] == singles + result.different_images, "and one of each before"
    batches = [row for row in result.rows if row.name == "batches"]
    assert service.paths["/predict/batch"] == sum(row.answers for row in batches) + len(batches)
    assert batches[1].images_per_second == pytest.approx(4 * batches[1].requests_per_second, rel=1e-3)
    for row in result.rows:
        assert 0 < row.latency_ms["p50"] <= row.latency_ms["p95"] <= row.latency_ms["p99"] <= row.latency_ms["max"]
    assert result.soak[-1].memory_bytes == service.memory
    assert sum(sample.errors for sample in result.soak) == 0
    assert result.memory_reason == ""
    assert result.generator_limit > 0
    write_report(result, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    HTMLParser().feed(text)
    assert text.count("<svg") == 2
    assert "colours version 7" in text
    assert "50 MB at the end of the soak" in text


def test_errors_are_counted_by_kind(service: HttpService) -> None:
    service.fail_every = 3
    plan = LoadPlan(clients=(4,), batch_sizes=(), seconds=1.0, soak_seconds=0)
    result = run_load_test(service.url, plan, colours())
    (row,) = result.rows
    assert row.errors == {"HTTP 503": service.statuses[503]}
    assert service.statuses[503] > 0
    assert row.answers == service.statuses[200] - 3
    assert errors_text(row) == f"HTTP 503: {service.statuses[503]:,}"
    assert result.memory_reason == "there was no soak"


def test_images_are_sent_as_they_are(service: HttpService) -> None:
    plan = LoadPlan(clients=(1,), batch_sizes=(2,), seconds=0.05, soak_seconds=0)
    result = run_load_test(service.url, plan, colours(), source="a folder")
    assert (result.image_source, result.different_images) == ("a folder", 3)
    assert result.image_bytes == round(sum(len(image.data) for image in colours()) / 3)
    assert not any(row.errors for row in result.rows)


def test_a_batch_that_is_refused_is_a_reason_not_a_figure(service: HttpService, tmp_path: Path) -> None:
    plan = LoadPlan(clients=(1,), batch_sizes=(4, 8), seconds=0.05, soak_seconds=0)
    result = run_load_test(service.url, plan, colours())
    small, large = result.rows[1:]
    assert not small.reason
    assert "1 to 5 images, not 8" in large.reason
    assert large.answers == 0
    write_report(result, tmp_path / "page.html")
    assert "1 to 5 images, not 8" in (tmp_path / "page.html").read_text()


def test_an_image_that_is_refused_is_named(service: HttpService) -> None:
    cut = LoadImage(name="cut.png", data=colour_png(0)[:-10])
    with pytest.raises(BadInput, match=r"cut\.png: .*cut off"):
        run_load_test(service.url, SHORT, [*colours(), cut])
    text = LoadImage(name="notes.png", data=b"no image")
    with pytest.raises(BadInput, match=r"notes\.png: not a JPEG"):
        run_load_test(service.url, SHORT, [text])


def test_nobody_there() -> None:
    with pytest.raises(ClusterError, match="no answer from http://127"):
        run_load_test("http://127.0.0.1:9", SHORT)


def test_a_service_that_does_not_tell_its_memory(service: HttpService) -> None:
    plan = LoadPlan(clients=(1,), batch_sizes=(), seconds=0.05, soak_seconds=0.1)
    result = run_load_test(service.url, plan, colours())
    assert result.memory_reason == "/metrics says nothing of resident_memory_bytes"
    assert memory_text(result) == "memory over time is not known: /metrics says nothing of resident_memory_bytes"
    assert all(sample.memory_bytes is None for sample in result.soak)


class Memory:
    """Readings one after the other."""

    def __init__(self, *readings: MemoryReading) -> None:
        self._readings = iter(readings)

    async def read(self) -> MemoryReading:
        return next(self._readings)

    async def close(self) -> None:
        pass


def test_a_sample_is_of_what_came_since_the_one_before() -> None:
    recorder = SoakRecorder(Memory(MemoryReading(5), MemoryReading(None, "gone")), interval_s=1)  # type: ignore[arg-type]
    seen = Seen(latencies=[0.001, 0.002])
    asyncio.run(recorder.sample(seen))
    seen.latencies += [0.5]
    seen.errors["closed"] += 2
    asyncio.run(recorder.sample(seen))
    first, second = recorder.samples
    assert (first.memory_bytes, first.errors) == (5, 0)
    assert first.p99_ms is not None
    assert first.p99_ms < 2
    assert (second.memory_bytes, second.errors, second.p99_ms) == (None, 2, 500)
    assert recorder.memory_reason == "", "one sample has it"


def test_synthetic_images_are_different_and_of_the_size() -> None:
    images = synthetic_images(20, 30, 5)
    headers = [read_header(image.data) for image in images]
    assert {(header.format, header.height, header.width) for header in headers} == {("jpeg", 20, 30)}
    assert len({image.data for image in images}) == 5
    assert images == synthetic_images(20, 30, 5)


def test_many_files_are_thinned_out_evenly(tmp_path: Path) -> None:
    files = [tmp_path / f"{number:03}.png" for number in range(200)]
    for file in files:
        file.write_bytes(file.name.encode())
    chosen = [image.data.decode() for image in read_images(files)]
    assert len(chosen) == 64
    assert (chosen[0], chosen[1], chosen[-1]) == ("000.png", "003.png", "196.png")
    assert len(read_images(files[:10])) == 10


def test_a_busy_generator_is_said(service: HttpService) -> None:
    plan = LoadPlan(clients=(1,), batch_sizes=(), seconds=0.05, soak_seconds=0)
    result = run_load_test(service.url, plan, colours())
    idle, busy = (
        dataclasses.replace(result, rows=(dataclasses.replace(result.rows[0], generator_busy=share),))
        for share in (0.3, 0.9)
    )
    assert "busy" not in generator_text(idle)
    assert "single images with 1 clients" in generator_text(busy)
