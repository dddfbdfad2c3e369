"""The C++ engine's program as `manta compare` runs it: the real one where it is built, stand-ins that fail."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from app.artifact import open_bundle
from app.edge_engine import EdgeEngine, find_engine
from app.errors import MantaError
from app.inference import OnnxClassifier
from tests.bundles import COLOURS, write_colour_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_colour_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture
def engine(bundle: Path) -> EdgeEngine:
    program = find_engine()
    if program is None:
        pytest.skip("the C++ engine is not built (`make engine`)")
    return EdgeEngine(program, bundle, "fp32")


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), np.uint8)


def program(folder: Path, body: str) -> Path:
    path = folder / "manta-engine"
    path.write_text(f"#!{sys.executable}\nimport json, sys\n{body}\n")
    path.chmod(0o755)
    return path


def test_it_answers_as_the_file_does(engine: EdgeEngine, bundle: Path, images: np.ndarray) -> None:
    expected = OnnxClassifier.from_bundle(open_bundle(bundle)).predict(images)
    np.testing.assert_allclose(engine.probabilities(images, COLOURS), expected, atol=1e-5)


def test_its_time_and_memory(engine: EdgeEngine) -> None:
    one, many = engine.timing(1, 2000), engine.timing(64, 2000)
    assert 0 < one.p50_ms <= one.p99_ms
    assert many.p50_ms > one.p50_ms
    assert 1e6 < one.peak_memory_bytes < 200e6


def test_answers_belong_to_their_images_whatever_their_order(tmp_path: Path, images: np.ndarray) -> None:
    fake = program(
        tmp_path,
        "import pathlib\n"
        "folder = sys.argv[sys.argv.index('--directory') + 1]\n"
        "files = sorted(map(str, pathlib.Path(folder).iterdir()), reverse=True)\n"
        "def row(file):\n"
        "    number = int(pathlib.Path(file).stem)\n"
        "    return {'file': file, 'predictions': [{'class_id': number % 3, 'confidence': number / 100}]}\n"
        "print(json.dumps({'results': [row(file) for file in files]}))",
    )
    rows = EdgeEngine(fake, tmp_path, "fp32").probabilities(images, COLOURS)
    assert [int(row.argmax()) for row in rows[1:]] == [number % 3 for number in range(1, 20)]
    assert rows[19, 1] == pytest.approx(0.19)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("print('error: not a model', file=sys.stderr); sys.exit(4)", "not a model"),
        ("sys.exit(1)", "exit code 1"),
        ("print(json.dumps({'results': []}))", "answered 0 of 20"),
    ],
)
def test_what_goes_wrong_is_said(tmp_path: Path, images: np.ndarray, body: str, message: str) -> None:
    with pytest.raises(MantaError, match=message):
        EdgeEngine(program(tmp_path, body), tmp_path, "fp32").probabilities(images, COLOURS)


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MantaError, match="cannot be run"):
        EdgeEngine(tmp_path / "gone", tmp_path, "fp32").timing(1, 1)


def test_the_environment_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANTA_ENGINE", "/opt/manta-engine")
    assert find_engine() == Path("/opt/manta-engine")
