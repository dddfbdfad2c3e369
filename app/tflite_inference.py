"""Running a bundle's TFLite file with LiteRT: uint8 images in, probabilities out."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from app.errors import BrokenBundle, MantaError


class TfliteClassifier:
    """One loaded file. Raises BrokenBundle when it is not one of ours, MantaError where LiteRT is not installed."""

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise MantaError(f"{path.name} needs LiteRT: pip install ai-edge-litert") from error
        try:
            self._interpreter = Interpreter(str(path), num_threads=threads)
            (self._input,) = self._interpreter.get_input_details()
            (self._output,) = self._interpreter.get_output_details()
        except (ValueError, RuntimeError) as error:
            raise BrokenBundle(f"LiteRT cannot load {path}: {error}") from error
        self._shape: tuple[int, ...] = ()

    def predict(self, images: np.ndarray) -> np.ndarray:
        """images: uint8 [N, H, W, 3] RGB at the input size. Returns float32 [N, C], rows sum to 1."""
        if images.shape != self._shape:
            self._interpreter.resize_tensor_input(self._input["index"], images.shape)
            self._interpreter.allocate_tensors()
            self._shape = images.shape
        self._interpreter.set_tensor(self._input["index"], images)
        self._interpreter.invoke()
        return np.asarray(self._interpreter.get_tensor(self._output["index"]))
