"""Formats side by side, and the page that shows them."""

from __future__ import annotations

import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from app import comparison
from app.artifact import open_bundle
from app.comparison import Comparison, Row, compare, pareto
from app.comparison_report import front, write_report
from app.conversion.builders import build
from app.conversion.bundling import Built, add_variants
from app.conversion.variants import KINDS
from app.edge_engine import find_engine
from app.errors import BadInput
from app.peak_memory import COMPILED, PYTORCH
from tests.app.conversion.conftest import DenseDigits, answers_of


@pytest.mark.parametrize(
    ("points", "best"),
    [
        ([], []),
        ([(1, 1)], [0]),
        ([(1, 1), (2, 2), (3, 3)], [0, 1, 2]),
        ([(1, 3), (2, 2), (3, 3)], [0]),
        ([(3, 3), (1, 1), (1, 2), (2, 1.5)], [2, 0]),
    ],
)
def test_what_no_other_beats(points: list[tuple[float, float]], best: list[int]) -> None:
    assert pareto(points) == best


@pytest.fixture(scope="module")
def compared(dense_digits: DenseDigits, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """fp32 and fp16 of one version, an int8 that was rejected, and no compiler."""
    folder = tmp_path_factory.mktemp("compared") / "bundle"
    shutil.copytree(dense_digits.folder, folder)
    path = folder / KINDS["fp16"].file
    build("fp16", dense_digits.sources, path)
    built = [
        Built(name="fp16", answers=answers_of(path, dense_digits)),
        Built(name="int8", failure="it cannot be built: <script>"),
    ]
    add_variants(folder, dense_digits.measured.manifest, built, dense_digits.dataset.test.images)

    def no_compiler(*_: object) -> None:
        raise BadInput("--compile needs a C++ compiler")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "SECONDS", 0.1)
        patch.setattr("app.training.require_compiler", no_compiler)
        patch.setattr(comparison, "find_engine", lambda: None)
        return compare([("digits/1", open_bundle(folder))], dense_digits.dataset, data="digits")


def rows_by_name(compared: Comparison) -> dict[str, Row]:
    return {row.name: row for row in compared.rows}


def test_every_format_is_measured(compared: Comparison, dense_digits: DenseDigits) -> None:
    rows = rows_by_name(compared)
    assert list(rows) == [PYTORCH, COMPILED, "fp32", "fp16", "int8"]
    for name in (PYTORCH, "fp32", "fp16"):
        row = rows[name]
        assert row.accuracy == pytest.approx(dense_digits.measured.onnx_accuracy, abs=0.003)
        assert 0 < row.latency_ms["1"] < row.latency_ms["32"]
        assert row.p99_ms is not None
        assert row.p99_ms >= row.latency_ms["1"]
        assert row.images_per_second == pytest.approx(32_000 / row.latency_ms["32"])
    assert rows[PYTORCH].max_error == 0
    assert 0 < (rows["fp32"].max_error or 0) < 1e-5 < (rows["fp16"].max_error or 0)


def test_the_engine_stands_beside_the_file_that_it_runs(
    dense_digits: DenseDigits, monkeypatch: pytest.MonkeyPatch
) -> None:
    if find_engine() is None:
        pytest.skip("the C++ engine is not built (`make engine`)")
    for name, value in (("SECONDS", 0.1), ("ENGINE_MS", 50.0)):
        monkeypatch.setattr(comparison, name, value)
    rows = rows_by_name(compare([("digits/1", open_bundle(dense_digits.folder))], dense_digits.dataset, data="digits"))
    file, engine = rows["fp32"], rows["engine-fp32"]
    assert engine.accuracy == file.accuracy
    assert (engine.max_error or 0) < 1e-5
    assert 0 < engine.latency_ms["1"] < engine.latency_ms["32"]
    assert 10e6 < (engine.peak_memory_bytes or 0) < 200e6


def test_memory_is_that_of_the_runtime_alone(compared: Comparison) -> None:
    """PyTorch needs several times what ONNX Runtime does, and is not loaded for it."""
    rows = rows_by_name(compared)
    torch_bytes, onnx_bytes = (rows[name].peak_memory_bytes or 0 for name in (PYTORCH, "fp32"))
    assert 20e6 < onnx_bytes < 0.7 * torch_bytes


def test_what_did_not_run_says_why(compared: Comparison) -> None:
    rows = rows_by_name(compared)
    assert (rows[COMPILED].status, rows[COMPILED].reason) == ("failed", "--compile needs a C++ compiler")
    assert (rows["int8"].status, rows["int8"].reason) == ("rejected", "it cannot be built: <script>")


def test_the_page(compared: Comparison, tmp_path: Path) -> None:
    write_report(compared, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    HTMLParser().feed(text)
    assert text.count("<tr") == 1 + len(compared.rows)
    assert "rejected: it cannot be built: &lt;script&gt;" in text
    assert "<script" not in text
    assert text.count("<svg") == 1
    assert "src=" not in text, "nothing is fetched from elsewhere"
    assert "@import" not in text


def test_the_front_leaves_out_what_was_not_measured(compared: Comparison) -> None:
    names = {row.name for row in front(compared, lambda row: row.latency_ms.get("1"))}
    assert names
    assert names <= {PYTORCH, "fp32", "fp16"}
