"""Small real bundles made without training: the class is the colour channel with the highest mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from app.artifact import (
    MODEL_FILE,
    ONNX_METADATA_KEY,
    InputSpec,
    Manifest,
    Variant,
    read_manifest,
    seal_for_onnx,
    write_manifest,
)
from app.config import Home
from app.imaging import RESIZE_RULE
from app.inference import OnnxClassifier
from app.reference import reference_of, write_reference
from app.registry import CHAMPION, Registry
from app.self_test import write_self_test

COLOURS = ("red", "green", "blue")


def write_colour_bundle(
    folder: Path,
    *,
    size: int = 8,
    labels: tuple[str, ...] = COLOURS,
    name: str = "colours",
    black_only: bool = False,
    self_test: bool = True,
    reference: tuple[np.ndarray, np.ndarray] | None = None,
) -> Manifest:
    """probabilities = softmax(mean colour / 8), so that a pure image is answered with near certainty.

    black_only: the graph cannot be run on anything but black images, which a warm-up does not notice.
    self_test: with an image and the graph's answer to it; never for a graph that cannot be run on it.
    reference: held-out images and what was answered to them; with none the bundle cannot be asked for drift.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = np.zeros((3, len(labels)), np.float32)
    weights[:, :3] = np.eye(3, dtype=np.float32) / 8
    trap = [
        helper.make_node("ReduceMax", ["floats"], ["brightest"], keepdims=0),
        helper.make_node("Cast", ["brightest"], ["place"], to=TensorProto.INT64),
        helper.make_node("Gather", ["one_zero", "place"], ["nothing"]),
        helper.make_node("Add", ["colour_logits", "nothing"], ["logits"]),
    ]
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["floats", "axes"], ["colour"], keepdims=0),
            helper.make_node("MatMul", ["colour", "weights"], ["colour_logits" if black_only else "logits"]),
            *(trap if black_only else []),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        ],
        "colours",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", size, size, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", len(labels)])],
        [
            numpy_helper.from_array(np.array([1, 2], np.int64), "axes"),
            numpy_helper.from_array(weights, "weights"),
            *([numpy_helper.from_array(np.zeros(1, np.float32), "one_zero")] if black_only else []),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    manifest = Manifest(
        name=name,
        architecture="mean_colour",
        labels=labels,
        input=InputSpec(height=size, width=size, resize=RESIZE_RULE),
        created="2026-01-01T00:00:00+00:00",
    )
    helper.set_model_props(model, {ONNX_METADATA_KEY: seal_for_onnx(manifest)})
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, folder / MODEL_FILE)
    if self_test and not black_only:
        green = np.zeros((1, size, size, 3), np.uint8)
        green[..., 1] = 12  # dark, so that the answer is not certain
        answer = OnnxClassifier(folder / MODEL_FILE).predict(green)[0]
        write_self_test(folder, green[0], labels[1], {"fp32": answer})
    if reference is not None:
        write_reference(folder, reference_of(*reference))
    variant = Variant(
        file=MODEL_FILE, bytes=(folder / MODEL_FILE).stat().st_size, accuracy=1.0, max_error=0.0, latency_ms={"1": 0.05}
    )
    return write_manifest(
        folder,
        Manifest(
            **{
                field: getattr(manifest, field)
                for field in ("name", "architecture", "labels", "input", "created", "lineage")
            },
            variants={"fp32": variant},
        ),
    )


def tamper(folder: Path) -> None:
    """Another graph under the same labels, and all checksums are right again: green is answered with red."""
    model = onnx.load(folder / MODEL_FILE)
    (weights,) = (each for each in model.graph.initializer if each.name == "weights")
    changed = np.roll(numpy_helper.to_array(weights), -1, axis=1)
    weights.CopyFrom(numpy_helper.from_array(changed, "weights"))
    onnx.save(model, folder / MODEL_FILE)
    write_manifest(folder, read_manifest(folder))


def register_colours(home: Home, *, name: str = "colours", promoted: bool = True) -> None:
    """A registered version that was never trained; champion unless not `promoted`."""
    folder = home.root / "made"
    manifest = write_colour_bundle(folder, name=name)
    registry = Registry(home)
    version = registry.register(registry.start_run("made", {}), folder, manifest)
    if promoted:
        registry.promote(version, CHAMPION, who="test", why="made")
