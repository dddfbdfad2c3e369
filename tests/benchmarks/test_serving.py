"""Options of the serving benchmark, and the requests that each arrangement takes."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from app.errors import BadInput, MantaError
from app.imaging import encode_png
from app.inference import OnnxClassifier
from benchmarks.serving import ServingBenchmark
from benchmarks.serving_peers import environments, routes
from benchmarks.serving_peers.check import check_answers
from benchmarks.serving_peers.environments import REQUIREMENTS, NotInstalled, environment
from benchmarks.serving_peers.peers import PEERS
from benchmarks.serving_peers.routes import KINDS, OWN_ROUTES
from benchmarks.serving_peers.running import NotStarted
from tests.bundles import write_colour_bundle
from tests.serve_deployments.fakes import colour_png
from tests.serve_deployments.http_service import http_service


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"seconds": 0}, "--seconds"),
        ({"rounds": 0}, "--rounds"),
        ({"peers": "litserve,triton"}, "triton"),
        ({"clients": "1,8"}, "--clients must hold 32"),
        ({"clients": "1,many"}, "whole numbers"),
    ],
)
def test_options_are_checked(options: dict[str, object], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        ServingBenchmark(**options)  # type: ignore[arg-type]


def test_the_page_is_beside_the_results() -> None:
    assert ServingBenchmark(json="out/serving.json").page == Path("out/serving.html")
    assert ServingBenchmark(json="a.json", html="b.html").page == Path("b.html")
    assert ServingBenchmark().page is None
    assert ServingBenchmark(peers="none").peer_keys == []


def test_every_arrangement_takes_every_kind() -> None:
    assert set(OWN_ROUTES) == set(KINDS)
    for peer in PEERS.values():
        assert set(peer.routes) == set(KINDS)


def test_requirements_are_pinned() -> None:
    for peer in PEERS.values():
        if peer.requirements:
            lines = (REQUIREMENTS / f"{peer.requirements}.txt").read_text().splitlines()
            packages = [line for line in lines if line and not line.startswith("#")]
            assert all("==" in line for line in packages)
            names = {line.partition("==")[0].lower() for line in packages}
            assert {*peer.packages, "onnxruntime", "numpy", "opencv-python-headless"} <= names
            assert "torch" not in names


def test_bodies_hold_the_images() -> None:
    images = [b"one", b"two"]
    assert base64.b64decode(json.loads(routes.single(images))["image"]) == b"one"
    assert [base64.b64decode(each["image"]) for each in json.loads(routes.batch(images))["images"]] == images
    (tensor,) = json.loads(routes.inference_protocol(images))["inputs"]
    assert (tensor["shape"], len(tensor["data"])) == ([2, 1], 2)
    assert b"\r\n\r\none\r\n--" in routes.multipart(images)


def test_a_server_that_answers_something_else_is_not_measured(tmp_path: Path) -> None:
    """The test's service answers with shares of brightness, the bundle with a softmax of them."""
    write_colour_bundle(tmp_path)
    graph = OnnxClassifier(tmp_path / "model.onnx")
    with http_service() as service:
        check_answers(service.url, OWN_ROUTES[routes.RAW], [colour_png(0)], [graph])
        with pytest.raises(NotStarted, match="does not answer as the graph does"):
            check_answers(service.url, OWN_ROUTES[routes.JSON], [_mixed()], [graph])


def _mixed() -> bytes:
    return encode_png(np.full((8, 8, 3), (90, 80, 70), np.uint8))


PYTHON_WITHOUT_PACKAGES = """#!/bin/sh
mkdir -p "$3/bin"
printf '#!/bin/sh\\necho "ERROR: no package broken==1" >&2\\nexit 1\\n' > "$3/bin/python"
chmod +x "$3/bin/python"
"""


def test_a_peer_that_cannot_be_installed_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text(PYTHON_WITHOUT_PACKAGES)
    python.chmod(0o755)
    (tmp_path / "broken.txt").write_text("broken==1\n")
    monkeypatch.setattr(environments, "REQUIREMENTS", tmp_path)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(NotInstalled, match=r"cannot be installed: ERROR: no package broken==1") as caught:
        environment("broken", tmp_path / "cache")
    assert isinstance(caught.value, MantaError)
    assert not list((tmp_path / "cache").glob("*/.complete")), "the next time it is tried again"
