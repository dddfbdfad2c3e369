"""Running a bundle's graph with ONNX Runtime: uint8 images in, probabilities out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort

from app.artifact import Bundle, Manifest, open_onnx_seal
from app.errors import BrokenBundle


def session_options(threads: int) -> ort.SessionOptions:
    """Thread counts are always set: the default takes every core and spins on it between requests."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


class OnnxClassifier:
    """One loaded graph. Raises BrokenBundle when the file is not one of ours."""

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        try:
            self._session = ort.InferenceSession(
                str(path), session_options(threads), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime raises its own, undocumented types for a damaged file
            raise BrokenBundle(f"ONNX Runtime cannot load {path}: {error}") from error
        try:
            self.manifest: Manifest = open_onnx_seal(self._session.get_modelmeta().custom_metadata_map)
        except BrokenBundle as error:
            raise BrokenBundle(f"{path}: {error}") from error

    @classmethod
    def from_bundle(cls, bundle: Bundle, *, variant: str = "fp32", threads: int = 1) -> OnnxClassifier:
        return cls(bundle.variant_path(variant), threads=threads)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """images: uint8 [N, H, W, 3] RGB at the input size. Returns float32 [N, C], rows sum to 1."""
        (probabilities,) = self._session.run(["probabilities"], {"images": images})
        return np.asarray(probabilities)

    def warm_up(self, batch_sizes: tuple[int, ...] = (1, 8, 32)) -> None:
        """Runs each batch size once, so that the first request does not pay for allocation."""
        shape = self.manifest.input
        for size in batch_sizes:
            self.predict(np.zeros((size, shape.height, shape.width, 3), np.uint8))
