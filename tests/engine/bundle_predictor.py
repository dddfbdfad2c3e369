"""The Python service of one bundle, without a cluster: what the engine's server is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from app.artifact import open_bundle
from app.errors import BadImage, NotFound
from app.inference import OnnxClassifier
from serve_deployments.assignment import Caller
from serve_deployments.decoder import Decoded, Decoder
from serve_deployments.deployment_view import DeploymentView, VersionView
from serve_deployments.http_api import Answer, Classified, Readiness


class BundlePredictor:
    def __init__(self, folder: Path) -> None:
        bundle = open_bundle(folder)
        self._manifest = bundle.manifest
        self._classifier = OnnxClassifier.from_bundle(bundle)
        self._decoder = Decoder(inline_pixels=100_000, threads=1)

    async def classify(self, images: Sequence[bytes], caller: Caller) -> Answer:
        _check_version(caller)
        decoded = await self._decoder.decode(images, self._manifest.input)
        good = [image.pixels for image in decoded if isinstance(image, Decoded)]
        results = iter(self._classifier.predict(np.stack(good)) if good else [])
        rows: list[Classified | BadImage] = [
            Classified(next(results), image.shape, "1") if isinstance(image, Decoded) else image for image in decoded
        ]
        return Answer("1", self._manifest.labels, rows)

    async def classify_pixels(self, pixels: np.ndarray, caller: Caller) -> Answer:
        _check_version(caller)
        shape = (self._manifest.input.height, self._manifest.input.width, 3)
        rows = [Classified(probabilities, shape, "1") for probabilities in self._classifier.predict(pixels)]
        return Answer("1", self._manifest.labels, list(rows))

    def deployment(self) -> DeploymentView:
        version = VersionView("1", self._manifest, 1)
        return DeploymentView(model=self._manifest.name, versions=(version,), champion="1")

    def labels(self) -> Sequence[str]:
        return self._manifest.labels

    def count_http(self, route: str, status: int) -> None:
        """The engine counts for itself."""

    def readiness(self) -> Readiness:
        model = self._manifest.name
        return Readiness(None, {"model": model, "revision": 0, "model_version": "1", "problem": None})

    def model_info(self) -> dict[str, Any]:
        shape = self._manifest.input
        return {
            "model": self._manifest.name,
            "architecture": self._manifest.architecture,
            "input_shape": [-1, shape.height, shape.width, 3],
            "output_shape": [-1, len(self._manifest.labels)],
            "num_classes": len(self._manifest.labels),
            "class_names": self._manifest.labels,
            "revision": 0,
        }


def _check_version(caller: Caller) -> None:
    """As `Assignment` does where one version is deployed."""
    if caller.version not in (None, "1"):
        raise NotFound(f"version {caller.version} is not deployed; deployed: 1")
