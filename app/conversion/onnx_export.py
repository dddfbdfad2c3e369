"""Writes `model.onnx`: preprocessing and softmax in the graph, dynamic batch, manifest in the metadata."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import onnx
import onnxsim
import torch
from torch.export import Dim

from app.artifact import ONNX_METADATA_KEY, Manifest, seal_for_onnx
from app.errors import MantaError
from app.models import ServingModel
from app.models.folding import fold_norms_behind_pools

OPSET = 20

IMAGE_METADATA = {
    # The official keys of the ONNX specification (docs/MetadataProps.md).
    "Image.BitmapPixelFormat": "Rgb8",
    "Image.NominalPixelRange": "NominalRange_0_255",
    "Image.ColorSpaceGamma": "SRGB",
}


def export_onnx(model: ServingModel, manifest: Manifest, path: Path) -> None:
    """Exports, simplifies, checks and writes the graph of `model`.

    What the graph computes is not compared here but by the parity gate, on real images. Raises MantaError that names
    the operator which cannot be expressed in ONNX.
    """
    graph, _ = onnxsim.simplify(_trace(model, manifest))
    del graph.metadata_props[:]
    for key, value in {**IMAGE_METADATA, ONNX_METADATA_KEY: seal_for_onnx(manifest)}.items():
        graph.metadata_props.add(key=key, value=value)
    graph.producer_name = "manta"
    graph.doc_string = f"{manifest.name}: {manifest.architecture}, {len(manifest.labels)} classes"
    onnx.checker.check_model(graph, full_check=True)
    onnx.save(graph, path)


def _trace(model: ServingModel, manifest: Manifest) -> onnx.ModelProto:
    # Two images: a batch of one would be taken for a constant.
    example = torch.zeros(2, manifest.input.height, manifest.input.width, 3, dtype=torch.uint8)
    folded = copy.deepcopy(model).cpu().eval()
    fold_norms_behind_pools(folded)
    with _quiet(), _one_line_errors(manifest.architecture):
        program = torch.onnx.export(
            folded,
            (example,),
            dynamo=True,
            dynamic_shapes={"images": {0: Dim("batch")}},
            input_names=["images"],
            output_names=["probabilities"],
            opset_version=OPSET,
            # Without it batch normalization stays unfolded and the graph is 3.6 times slower.
            optimize=True,
            verbose=False,
        )
    assert program is not None
    return program.model_proto


@contextlib.contextmanager
def _one_line_errors(architecture: str) -> Iterator[None]:
    """The exporter explains itself over pages, and names the operator somewhere within."""
    try:
        yield
    except torch.onnx.OnnxExporterError as error:
        chain: list[BaseException] = [error]
        while (cause := chain[-1].__cause__) is not None:
            chain.append(cause)
        operator = next(filter(None, (re.search(r"op='([\w.]+)'", str(each)) for each in reversed(chain))), None)
        reason = f"no ONNX for operator {operator[1]}" if operator else str(chain[-1]).partition("\n")[0]
        raise MantaError(f"{architecture} cannot be converted to ONNX: {reason}") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter narrates its progress on stdout and warns about its own internals."""
    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.getLogger("torch.onnx").setLevel(level)
