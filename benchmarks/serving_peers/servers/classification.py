"""Encoded images to answers, as every arrangement makes them: `app.imaging`, one ONNX Runtime thread, the top five."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from app.imaging import load
from app.inference import OnnxClassifier
from app.predictions import top_predictions

MODEL_VARIABLE = "MANTA_BENCHMARK_MODEL"
"""Environment variable that names the graph's file."""
TOP_K = 5


class Classification:
    def __init__(self) -> None:
        self._model = OnnxClassifier(Path(os.environ[MODEL_VARIABLE]))
        self._model.warm_up()

    def pixels(self, images: Sequence[bytes]) -> np.ndarray:
        """uint8 [N, H, W, 3]"""
        size = self._model.manifest.input
        return np.stack([load(image, size.height, size.width) for image in images])

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """float32 [N, C]"""
        return self._model.predict(pixels)

    def top(self, probabilities: np.ndarray) -> list[list[dict[str, Any]]]:
        """Of each row, the classes with the highest probability."""
        return [top_predictions(row, self._model.manifest.labels, TOP_K) for row in probabilities]

    def answer(self, images: Sequence[bytes]) -> list[list[dict[str, Any]]]:
        return self.top(self.probabilities(self.pixels(images)))


def from_base64(text: str) -> bytes:
    return base64.b64decode(text)
