"""The gates of variants: what fails one is left out of the bundle, and the manifest says why."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from app.artifact import CHECKPOINT_FILE, MANIFEST_FILE, MODEL_FILE, Manifest, open_bundle
from app.conversion import bundling
from app.conversion.answers import Answers
from app.conversion.builders import build
from app.conversion.bundling import Built, add_variants
from app.conversion.quantize import Scheme, best_static, calibration_images
from app.conversion.variants import KINDS, load_variant, parse_variants
from app.errors import BadInput, NotFound
from app.gates import Gate
from app.reference import REFERENCE_FILE
from app.self_test import ANSWERS_FILE, IMAGE_FILE, read_self_test
from tests.app.conversion.conftest import DenseDigits, answers_of
from tests.app.image_trees import entries

FAST, SLOW = 0.5, 2.0


@pytest.fixture
def folder(dense_digits: DenseDigits, tmp_path: Path) -> Path:
    shutil.copytree(dense_digits.folder, tmp_path / "bundle")
    return tmp_path / "bundle"


def judged(
    folder: Path,
    dense_digits: DenseDigits,
    monkeypatch: pytest.MonkeyPatch,
    *built: Built,
    latency: Mapping[str, float],
) -> Manifest:
    """The manifest, with latencies that are made up: `latency` times those of fp32."""

    def made_up(graphs: Mapping[str, Any], images: np.ndarray) -> dict[str, dict[str, float]]:
        return {
            name: {size: latency.get(name, 1.0) * float(size) for size in ("1", "8", "32", "64")} for name in graphs
        }

    monkeypatch.setattr(bundling, "interleaved_latency_ms", made_up)
    return add_variants(folder, dense_digits.measured.manifest, built, dense_digits.dataset.test.images)


def built(name: str, folder: Path, dense_digits: DenseDigits) -> Built:
    path = folder / KINDS[name].file
    build(name, dense_digits.sources, path)
    return Built(name=name, answers=answers_of(path, dense_digits), made_with={"why": "a test"})


def test_what_passes_is_part_of_the_sealed_bundle(
    folder: Path, dense_digits: DenseDigits, monkeypatch: pytest.MonkeyPatch
) -> None:
    fp16 = built("fp16", folder, dense_digits)
    manifest = judged(folder, dense_digits, monkeypatch, fp16, latency={"fp16": SLOW})
    bundle = open_bundle(folder)
    assert bundle.manifest == manifest
    kept = {CHECKPOINT_FILE, MODEL_FILE, REFERENCE_FILE, ANSWERS_FILE, IMAGE_FILE}
    assert bundle.manifest.files.keys() == {*kept, "model.fp16.onnx"}
    test = read_self_test(folder, manifest)
    assert test is not None
    assert test.answers.keys() == {"fp32", "fp16"}
    test.check("fp16", load_variant(bundle.variant_path("fp16"))(test.pixels[np.newaxis])[0])
    variant = manifest.variants["fp16"]
    assert (variant.status, variant.made_with) == ("ok", {"why": "a test"})
    assert "for GPUs" in variant.reason, "slower on a CPU, which is no reason to reject it"
    assert variant.bytes == (folder / "model.fp16.onnx").stat().st_size
    assert variant.latency_ms == {"1": 2, "8": 16, "32": 64, "64": 128}
    assert load_variant(bundle.variant_path("fp16"))(dense_digits.dataset.test.images[:1]).shape == (1, 10)


def test_a_broken_quantization_is_caught_though_its_accuracy_may_be_kept(
    folder: Path, dense_digits: DenseDigits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calibrated on black images, so that the ranges clip every real one."""
    path = folder / KINDS["int8"].file
    black = np.zeros_like(calibration_images(dense_digits.dataset.train))
    best_static(
        dense_digits.sources.fp32,
        path,
        black,
        lambda graph: answers_of(graph, dense_digits),
        lambda _: True,
        schemes=[Scheme(calibration="minmax", per_channel=True)],
    )
    clipped = answers_of(path, dense_digits)
    kept = Answers(
        accuracy=dense_digits.measured.onnx_accuracy, max_error=clipped.max_error, mean_error=clipped.mean_error
    )
    manifest = judged(folder, dense_digits, monkeypatch, Built(name="int8", answers=kept), latency={"int8": FAST})
    variant = manifest.variants["int8"]
    assert variant.status == "rejected"
    assert f"mean error of its answers {clipped.mean_error:.3g} (limit 0.03): failed by" in variant.reason
    assert entries(folder) == [CHECKPOINT_FILE, MANIFEST_FILE, MODEL_FILE, REFERENCE_FILE, ANSWERS_FILE, IMAGE_FILE]
    with pytest.raises(NotFound, match=r"variant 'int8' of bundle .* was rejected: mean error"):
        open_bundle(folder).variant_path("int8")


def test_lost_accuracy_is_refused_with_the_figures(
    folder: Path, dense_digits: DenseDigits, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = built("int8", folder, dense_digits)
    worse = Answers(accuracy=dense_digits.measured.onnx_accuracy - 0.01, max_error=0.0, mean_error=0.0)
    manifest = judged(folder, dense_digits, monkeypatch, Built(name=whole.name, answers=worse), latency={"int8": FAST})
    assert manifest.variants["int8"].reason == "loss of accuracy 0.01 (limit 0.003): failed by 0.007"


def test_a_slower_optimized_file_is_refused(
    folder: Path, dense_digits: DenseDigits, monkeypatch: pytest.MonkeyPatch
) -> None:
    int8 = built("int8", folder, dense_digits)
    manifest = judged(folder, dense_digits, monkeypatch, int8, latency={"int8": SLOW})
    variant = manifest.variants["int8"]
    assert variant.status == "rejected"
    assert variant.reason == "not faster than fp32: 2 ms to 1 at batch 1, 64 ms to 32 at batch 32"
    assert not (folder / "model.int8.onnx").exists()


def test_faster_at_one_batch_size_is_enough() -> None:
    gate = Gate("loss of accuracy", 0.0, 0.003)
    answers = Answers(accuracy=1.0, max_error=0.0, mean_error=0.0)
    latency = {"int8": {"1": 1.1, "32": 20.0}, "fp32": {"1": 1.0, "32": 30.0}}
    assert bundling.rejections(KINDS["int8"], answers, gate, latency) == []


def test_answers_that_are_no_numbers_are_refused() -> None:
    nan = Answers(accuracy=1.0, max_error=float("nan"), mean_error=float("nan"))
    (reason,) = bundling.rejections(KINDS["fp16"], nan, Gate("loss of accuracy", 0.0, 0.003), {})
    assert reason.startswith("mean error of its answers nan")


def test_what_could_not_be_built_is_told(
    folder: Path, dense_digits: DenseDigits, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = Built(name="tflite", failure="it cannot be built: no lowering for aten::special")
    manifest = judged(folder, dense_digits, monkeypatch, failed, latency={})
    assert manifest.variants["tflite"].reason == "it cannot be built: no lowering for aten::special"
    assert open_bundle(folder).manifest.variants["tflite"].accuracy is None


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("fp32", ("fp32",)),
        ("int8", ("fp32", "int8")),
        ("tflite-int8, fp16", ("fp32", "fp16", "tflite", "tflite-int8")),
    ],
)
def test_names(text: str, names: tuple[str, ...]) -> None:
    assert parse_variants(text) == names


@pytest.mark.parametrize(("text", "says"), [("int4", "unknown variant 'int4'"), (" , ", "names none")])
def test_unknown_names(text: str, says: str) -> None:
    with pytest.raises(BadInput, match=f"{says}; there are fp32, int8"):
        parse_variants(text)


def test_a_graph_with_data_outside_its_folder_is_refused(dense_digits: DenseDigits, tmp_path: Path) -> None:
    """As in a crafted bundle: the file says that its weights are in /etc/hostname."""
    from app.errors import BrokenBundle

    graph = onnx.load(dense_digits.folder / MODEL_FILE)
    weights = max(graph.graph.initializer, key=lambda each: len(each.raw_data))
    weights.ClearField("raw_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="../../../../../../../../etc/hostname")
    (tmp_path / "model.onnx").write_bytes(graph.SerializeToString())
    with pytest.raises(BrokenBundle, match="cannot load"):
        load_variant(tmp_path / "model.onnx")
