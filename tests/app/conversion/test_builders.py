"""Every kind of variant, built from a network that was trained on digits."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest

from app.artifact import open_onnx_seal
from app.conversion.answers import compare_answers
from app.conversion.builders import build, trace_tflite
from app.conversion.variants import FP32, KINDS, load_variant
from app.datasets import Split
from app.errors import BadInput, BrokenBundle
from app.evaluate import predict_in_batches
from app.inference import OnnxClassifier
from tests.app.conversion.conftest import DenseDigits

BUILT = [name for name in KINDS if name != FP32]


Files = dict[str, tuple[Path, dict[str, object]]]


@pytest.fixture(scope="module")
def files(dense_digits: DenseDigits, tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder, traced = tmp_path_factory.mktemp("variants"), tmp_path_factory.mktemp("traced") / "model.tflite"
    trace_tflite(dense_digits.checkpoint, traced)
    sources = dataclasses.replace(dense_digits.sources, tflite=traced)
    found = {}
    for name in BUILT:
        path = folder / KINDS[name].file
        found[name] = (path, build(name, sources, path))
    assert sorted(path.name for path in folder.iterdir()) == sorted(KINDS[name].file for name in BUILT)
    return found


@pytest.mark.parametrize("name", BUILT)
def test_it_answers_as_the_network_does(name: str, files: Files, dense_digits: DenseDigits) -> None:
    test = dense_digits.dataset.test
    probabilities = predict_in_batches(load_variant(files[name][0]), test.images)
    answers = compare_answers(probabilities, dense_digits.measured.reference, test.labels)
    assert answers.mean_error <= KINDS[name].error_limit
    assert answers.accuracy >= dense_digits.measured.onnx_accuracy - 0.01
    assert np.abs(probabilities.sum(1) - 1).max() < 1e-3


@pytest.mark.parametrize("name", BUILT)
def test_it_takes_any_batch_and_rows_do_not_depend_on_it(name: str, files: Files, dense_digits: DenseDigits) -> None:
    images, predict = dense_digits.dataset.test.images, load_variant(files[name][0])
    whole = predict(np.ascontiguousarray(images[:9]))
    # Activations of a dynamic variant are quantized by the range of the whole batch.
    tolerance = 0.1 if "dynamic" in name else 1e-3
    for size in (1, 4):
        assert np.abs(predict(np.ascontiguousarray(images[:size])) - whole[:size]).max() < tolerance


@pytest.mark.parametrize("name", [name for name in BUILT if KINDS[name].file.endswith(".onnx")])
def test_a_lone_graph_knows_its_labels(name: str, files: Files) -> None:
    assert OnnxClassifier(files[name][0]).manifest.labels == tuple("0123456789")
    metadata = {entry.key: entry.value for entry in onnx.load(files[name][0]).metadata_props}
    assert open_onnx_seal(metadata).name == "digits"
    assert metadata["Image.BitmapPixelFormat"] == "Rgb8"


@pytest.mark.parametrize("name", BUILT)
def test_smaller_than_fp32(name: str, files: Files, dense_digits: DenseDigits) -> None:
    path, made = files[name]
    share = path.stat().st_size / dense_digits.sources.fp32.stat().st_size
    # On some CPUs this network needs its noisiest layer in float.
    chosen = made.get("chosen")
    in_float = isinstance(chosen, dict) and chosen["float_layers"]
    assert share < (1.1 if name == "tflite" else 0.9 if in_float else 0.65 if "fp16" in name else 0.5)


def test_normalization_and_softmax_of_int8_are_float(files: Files) -> None:
    graph = onnx.load(files["int8"][0]).graph
    makers = {output: node.op_type for node in graph.node for output in node.output}
    for node in graph.node:
        if node.op_type in ("Sub", "Div", "Softmax"):
            assert makers.get(node.input[0]) != "DequantizeLinear", node.op_type
    assert sum(node.op_type == "QuantizeLinear" for node in graph.node) > 3


def test_how_int8_was_chosen(files: Files) -> None:
    made_with = files["int8"][1]
    tried = made_with["tried"]
    assert isinstance(tried, list)
    ways = {(each["calibration"], each["per_channel"]) for each in tried}
    assert ways == {(method, channel) for method in ("minmax", "entropy", "percentile") for channel in (True, False)}
    assert made_with["chosen"] == min(tried, key=lambda each: each["mean_error"])
    noise = list(made_with["layer_noise_db"].values())  # type: ignore[attr-defined]
    assert noise == sorted(noise)
    assert len(noise) >= 4


@pytest.mark.parametrize("name", ["int8", "tflite-int8"])
@pytest.mark.parametrize(("labels", "says"), [([], "is empty"), ([3] * 40, "shows a single class")])
def test_calibration_needs_images_of_several_classes(
    name: str, labels: list[int], says: str, dense_digits: DenseDigits, tmp_path: Path
) -> None:
    train = Split(dense_digits.dataset.train.images[: len(labels)], np.array(labels, np.int64))
    dataset = dataclasses.replace(dense_digits.dataset, train=train)
    with pytest.raises(BadInput, match=f"calibration set {says}"):
        build(name, dataclasses.replace(dense_digits.sources, dataset=dataset), tmp_path / KINDS[name].file)


@pytest.mark.parametrize("name", ["int8", "tflite"])
def test_a_cut_file_is_broken(name: str, files: Files, tmp_path: Path) -> None:
    cut = tmp_path / KINDS[name].file
    cut.write_bytes(files[name][0].read_bytes()[:1000])
    with pytest.raises(BrokenBundle, match="cannot load"):
        load_variant(cut)
