"""A classifier's handle without Serve."""

from __future__ import annotations

from typing import Any

import numpy as np

from serve_deployments.classifier_client import ClassifierClient


class FakeHandle:
    """Raises the given errors one call after another, then answers with the images' own values."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.batches: list[tuple[int, ...]] = []
        self.waiting = -1.0

    def options(self, **options: str) -> FakeHandle:
        assert options["method_name"] == "predict"
        return self

    async def remote(self, batch: np.ndarray, waiting: float) -> np.ndarray:
        self.batches.append(batch.shape)
        self.waiting = waiting
        if self.errors:
            raise self.errors.pop(0)
        return batch[:, 0, 0, :]

    def running_replicas_populated(self) -> bool:
        return True


def client_of(handle: FakeHandle, retries: int = 2) -> ClassifierClient:
    untyped: Any = handle
    return ClassifierClient("classifier-1", untyped, retries=retries)
