"""The exported graph: its signature, what is in it, and that it computes what PyTorch does."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto

from app.artifact import ONNX_METADATA_KEY, InputSpec, Manifest, open_onnx_seal
from app.conversion.onnx_export import export_onnx
from app.errors import MantaError
from app.inference import OnnxClassifier
from app.models import ImageClassifier, ServingModel, build_classifier, to_floats

pytestmark = pytest.mark.usefixtures("single_thread")

MANIFEST = Manifest(
    name="pets",
    architecture="custom_cnn",
    labels=("cat", "dog", "fox", "öwl"),
    input=InputSpec(height=16, width=12, resize="area"),
    created="2026-01-01T00:00:00+00:00",
)


@pytest.fixture(scope="module")
def model() -> ServingModel:
    """A network with random weights, but running statistics of images, far from those it starts with."""
    torch.manual_seed(0)
    classifier = build_classifier("custom_cnn", 4, (16, 12), mean=(120, 100, 80), std=(60, 50, 40))
    torch.nn.init.normal_(classifier.get_parameter("net.head.weight"), 0, 0.2)
    for module in classifier.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1  # the statistics are those of the one batch
    with torch.no_grad():
        classifier.train()(to_floats(torch.from_numpy(images(64, seed=0))))
    return ServingModel(classifier).eval()


def images(count: int, seed: int) -> np.ndarray:
    """Noise around a colour of each image's own."""
    rng = np.random.default_rng(seed)
    colours = rng.integers(0, 156, (count, 1, 1, 3))
    return (colours + rng.integers(0, 100, (count, 16, 12, 3))).astype(np.uint8)


@pytest.fixture(scope="module")
def exported(model: ServingModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    with contextlib.redirect_stdout(io.StringIO()) as out:
        export_onnx(model, MANIFEST, path)
    assert out.getvalue() == "", "the exporter's own progress is not the user's"
    return path


@pytest.fixture(scope="module")
def graph(exported: Path) -> onnx.ModelProto:
    return onnx.load(exported)


def shape(value: onnx.ValueInfoProto) -> list[int | str]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def test_signature(graph: onnx.ModelProto) -> None:
    (images,), (probabilities,) = graph.graph.input, graph.graph.output
    assert (images.name, images.type.tensor_type.elem_type) == ("images", TensorProto.UINT8)
    assert (probabilities.name, probabilities.type.tensor_type.elem_type) == ("probabilities", TensorProto.FLOAT)
    batch, *rest = shape(images)
    assert isinstance(batch, str), "the batch is dynamic"
    assert rest == [16, 12, 3]
    assert shape(probabilities) == [batch, 4]


def test_opset(graph: onnx.ModelProto) -> None:
    assert [(entry.domain, entry.version) for entry in graph.opset_import] == [("", 20)]


def test_batch_normalization_is_folded_and_softmax_is_inside(graph: onnx.ModelProto) -> None:
    kinds = [node.op_type for node in graph.graph.node]
    assert "BatchNormalization" not in kinds
    assert "Dropout" not in kinds
    assert kinds.count("Conv") == 7
    assert kinds[-1] == "Softmax"


def test_metadata(graph: onnx.ModelProto) -> None:
    metadata = {entry.key: entry.value for entry in graph.metadata_props}
    assert metadata.keys() == {
        "Image.BitmapPixelFormat",
        "Image.NominalPixelRange",
        "Image.ColorSpaceGamma",
        ONNX_METADATA_KEY,
    }
    assert metadata["Image.BitmapPixelFormat"] == "Rgb8"
    assert open_onnx_seal(metadata) == MANIFEST
    assert graph.producer_name == "manta"
    assert graph.doc_string == "pets: custom_cnn, 4 classes"


def test_nothing_of_this_machine_is_in_the_graph(exported: Path) -> None:
    """Exporters like to leave the paths of their source lines."""
    assert str(Path.cwd()).encode() not in exported.read_bytes()


@pytest.mark.parametrize("count", [1, 7, 64])
def test_parity_with_pytorch(model: ServingModel, exported: Path, count: int) -> None:
    batch = images(count, seed=99)
    answers = OnnxClassifier(exported).predict(batch)
    with torch.inference_mode():
        expected = model(torch.from_numpy(batch)).numpy()
    assert np.abs(answers - expected).max() < 1e-5
    assert np.abs(answers.sum(1) - 1).max() < 1e-6
    assert expected.std(0).min() > 1e-3 or count == 1, "answers differ from image to image"


def test_an_operator_without_onnx_is_named(tmp_path: Path) -> None:
    class Eigenvalues(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.linalg.eigvals(images[:, :, :3, :3].mean(1)).abs()

    model = ServingModel(ImageClassifier(Eigenvalues(), [0.0] * 3, [1.0] * 3)).eval()
    manifest = dataclasses.replace(MANIFEST, architecture="eigenvalues")
    with pytest.raises(MantaError, match=r"^eigenvalues cannot be converted to ONNX: no ONNX for operator aten\.\w+"):
        export_onnx(model, manifest, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()
