"""Shadow traffic: a version is asked what others were asked, and nobody waits for it."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
from collections.abc import Sequence

import numpy as np

from serve_deployments.assignment import Arm
from serve_deployments.metrics import Tally
from serve_deployments.served_version import ServedVersion

logger = logging.getLogger("ray.serve")


class ShadowTraffic:
    """Copies that would have to wait long are dropped: a slow shadow must not fill memory."""

    def __init__(self, tally: Tally, *, max_images: int) -> None:
        """max_images: copied images that may wait or be in flight."""
        self._tally = tally
        self._max_images = max_images
        self._copies: set[asyncio.Task[None]] = set()

    def copy(
        self, version: ServedVersion, share: float, pixels: list[np.ndarray], answers: Sequence[np.ndarray]
    ) -> None:
        """Perhaps asks `version` too, and counts whether its top classes are those of `answers`.

        pixels: uint8 [H, W, 3] each; answers: float32 [C] each, what the callers were told.
        """
        if share < 1 and random.random() >= share:
            return
        name = version.spec.version
        if version.batcher.queued + version.batcher.in_flight + len(pixels) > self._max_images:
            self._tally.count("manta_shadow", (name, "dropped"))
            return
        classes = [int(row.argmax()) for row in answers]
        # In a context of its own: Ray would cancel it with the request that it is a copy of.
        task = asyncio.get_running_loop().create_task(
            self._compare(version, pixels, classes), context=contextvars.Context()
        )
        self._copies.add(task)
        task.add_done_callback(self._copies.discard)

    async def _compare(self, version: ServedVersion, pixels: list[np.ndarray], classes: list[int]) -> None:
        name = version.spec.version
        try:
            rows = await version.batcher.submit(pixels)
        except Exception as error:
            logger.debug("the shadow %s did not answer: %s", name, error)
            self._tally.count("manta_shadow", (name, "error"))
            self._tally.count("manta_requests", (name, Arm.SHADOW, "error"))
            return
        self._tally.count("manta_requests", (name, Arm.SHADOW, "ok"))
        self._tally.count("manta_images", (name, Arm.SHADOW), len(rows))
        for row, expected in zip(rows, classes, strict=True):
            self._tally.count("manta_shadow", (name, "agree" if int(row.argmax()) == expected else "disagree"))
