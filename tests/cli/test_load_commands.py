"""`manta benchmark` against the service's routes on a real port."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.config import Home
from tests.cli.manta import assert_refused, manta_here, manta_json_here
from tests.serve_deployments.fakes import colour_png
from tests.serve_deployments.http_service import HttpService, http_service

SHORT = ("--clients", "1,2", "--batch-sizes", "2", "--seconds", 0.1, "--soak", 0.2)


@pytest.fixture
def service() -> Iterator[HttpService]:
    with http_service() as running:
        yield running


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for channel in range(3):
        (folder / f"{channel}.png").write_bytes(colour_png(channel))
    return folder


def test_json_and_the_page(home: Home, service: HttpService, images: Path) -> None:
    answer = manta_json_here(home, "benchmark", service.url, "--images", images, *SHORT)
    assert [(row["name"], row["clients"], row["images"]) for row in answer["rows"]] == [
        ("single images", 1, 1),
        ("single images", 2, 1),
        ("batches", 1, 2),
        ("soak", 8, 1),
    ]
    assert answer["image_source"] == str(images)
    assert answer["different_images"] == 3
    page = Path(answer["report"])
    assert page.parent == home.reports
    assert "<svg" in page.read_text()


def test_the_table(home: Home, service: HttpService, tmp_path: Path) -> None:
    service.memory = 80_000_000
    page = tmp_path / "page.html"
    answer = manta_here(home, "benchmark", service.url.removeprefix("http://"), "--report", page, *SHORT)
    assert answer.returncode == 0, answer.stderr
    lines = answer.stdout.splitlines()
    assert sum(line.startswith("single images  ") for line in lines) == 2
    assert any("requests/s" in line and "p99" in line and "errors" in line for line in lines)
    assert "80 MB at the end of the soak" in answer.stdout
    assert str(page) in answer.stdout
    assert page.is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("http://127.0.0.1:9",), 6, "no answer from"),
        (("ftp://127.0.0.1",), 2, "no URL"),
        (("127.0.0.1:9", "--clients", "many"), 2, "--clients"),
        (("127.0.0.1:9", "--clients", "0"), 2, "--clients"),
        (("127.0.0.1:9", "--batch-sizes", "1,2000"), 2, "--batch-sizes"),
        (("127.0.0.1:9", "--clients", "", "--soak", "0"), 2, "--clients is empty"),
        (("127.0.0.1:9", "--images", "nowhere"), 2, "does not exist"),
        (("127.0.0.1:9", "--report", "nowhere/page.html"), 2, "--report"),
    ],
)
def test_what_cannot_be_done(home: Home, arguments: tuple[str, ...], code: int, says: str) -> None:
    assert_refused(manta_here(home, "benchmark", *arguments), code, says)
