"""Deployed versions without Serve: their graphs answer in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from app.inference import OnnxClassifier
from tests.bundles import write_colour_bundle


class FakeClient:
    """One application's replicas, in this process."""

    def __init__(self, folder: Path) -> None:
        self.model = OnnxClassifier(folder / "model.onnx")
        self.replicas = 1
        self.calls: list[int] = []
        self.waiting: list[float] = []
        """What the router said with each call."""
        self.failure: Exception | None = None
        self.holds: asyncio.Event | None = None
        """Answers wait for it."""
        self.shift = 0
        """Classes that its answers are off by."""

    async def predict(self, images: Sequence[np.ndarray], waiting: float = 0.0) -> list[np.ndarray]:
        self.calls.append(len(images))
        self.waiting.append(waiting)
        if self.holds is not None:
            await self.holds.wait()
        if self.failure is not None:
            raise self.failure
        return list(np.roll(self.model.predict(np.stack(images)), self.shift, axis=1))

    def running_replicas(self) -> int:
        return self.replicas


class Applications:
    """What is deployed, by application name."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clients: dict[str, FakeClient] = {}

    def deploy(self, version: str, **bundle: Any) -> FakeClient:
        folder = self.root / version
        if not folder.exists():
            write_colour_bundle(folder, **bundle)
        self.clients[f"classifier-{version}"] = FakeClient(folder)
        return self.clients[f"classifier-{version}"]

    def traffic(self, revision: int, **weights: float) -> dict[str, Any]:
        """The first version is the champion."""
        return {
            "revision": revision,
            "model": "colours",
            "versions": [
                {
                    "version": version,
                    "application": f"classifier-{version}",
                    "bundle_uri": str(self.root / version),
                    "aliases": ["champion"] if place == 0 else [],
                    "weight": weight,
                }
                for place, (version, weight) in enumerate(weights.items())
            ],
        }
