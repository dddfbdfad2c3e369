"""One model version as a Serve deployment: uint8 images in, probabilities out.

A replica is ready when its bundle's checksums are right, the graph is loaded, every batch size was run once, and the
image in the bundle gets the answer that it got when the bundle was made. Routers decode; what arrives here is one
array of images at the input size.
"""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from ray import serve

from app.artifact import Bundle, local_folder, open_bundle
from app.errors import BrokenBundle
from app.inference import OnnxClassifier
from app.self_test import read_self_test
from serve_deployments.autoscaling import DEMAND, CallDemand
from serve_deployments.schemas import ClassifierArgs

logger = logging.getLogger("ray.serve")

INLINE_SECONDS = 0.005
"""A run expected to take longer than this goes to a thread: the loop also answers health checks."""


def images_in(calls: list[np.ndarray]) -> int:
    """The size of a merged batch: calls carry different numbers of images."""
    return sum(len(images) for images in calls)


class Classifier:
    """Raises NotFound or BrokenBundle from the constructor, which Serve reports as a failed deployment."""

    def __init__(self, args: ClassifierArgs) -> None:
        started = time.perf_counter()
        self._args = args
        bundle = open_bundle(local_folder(args.bundle_uri))
        self._model = OnnxClassifier.from_bundle(bundle, variant=args.variant, threads=args.threads)
        self._shape = (bundle.manifest.input.height, bundle.manifest.input.width, 3)
        self._columns = len(bundle.manifest.labels)
        self._model.warm_up(tuple(sorted({1, 8, min(32, args.max_batch), args.max_batch})))
        self._test(bundle)
        self._seconds_per_image = self._measure()
        # One run at a time: more would share the same cores and slow each other down.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="onnx")
        self._images = 0
        self._demand = CallDemand(threads=args.threads)
        merge: Any = self._merge  # @serve.batch puts the setters on the method, unknown to the type checker
        merge.set_max_batch_size(args.max_batch)
        merge.set_batch_wait_timeout_s(args.batch_wait_s)
        logger.info(
            "version %s (%s) is loaded and warm after %.2f s, %.3f ms an image",
            args.version,
            args.variant,
            time.perf_counter() - started,
            self._seconds_per_image * 1000,
        )

    def _test(self, bundle: Bundle) -> None:
        """Raises BrokenBundle when the bundle's own image gets another answer than when the bundle was made."""
        test = read_self_test(bundle.folder, bundle.manifest)
        if test is None or self._args.variant not in test.answers:
            logger.warning("version %s has no self-test: an older Manta made it", self._args.version)
            return
        test.check(self._args.variant, self._model.predict(test.pixels[np.newaxis])[0])

    def _measure(self) -> float:
        """Seconds per image in a batch of 8, the fastest of 3."""
        images = np.zeros((8, *self._shape), np.uint8)
        times = []
        for _ in range(3):
            started = time.perf_counter()
            self._model.predict(images)
            times.append(time.perf_counter() - started)
        return min(times) / len(images)

    async def predict(self, images: np.ndarray, waiting: float = 0.0) -> np.ndarray:
        """images: uint8 [N, H, W, 3] RGB at the input size. Returns float32 [N, C]; raises ValueError otherwise.

        waiting: images that wait for this replica in the router that calls.
        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != self._shape:
            raise ValueError(f"expected uint8 [N, {self._shape}], got {images.dtype} {list(images.shape)}")
        self._images += len(images)
        with self._demand.call(len(images), waiting):
            if self._args.batch_wait_s == 0 or len(images) >= self._args.max_batch:
                return await self._run(images)
            merged: np.ndarray = await self._merge(images)
            return merged

    # The limits here are replaced by the arguments' in the constructor.
    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.0, batch_size_fn=images_in)
    async def _merge(self, calls: list[np.ndarray]) -> list[np.ndarray]:
        """Calls of several routers as one run; each gets the rows of its own images."""
        probabilities = await self._run(np.concatenate(calls) if len(calls) > 1 else calls[0])
        ends = np.cumsum([len(images) for images in calls])
        return np.split(probabilities, ends[:-1])

    async def _run(self, images: np.ndarray) -> np.ndarray:
        if len(images) * self._seconds_per_image <= INLINE_SECONDS:
            return self._model.predict(images)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._model.predict, images)

    async def check_health(self) -> None:
        """Called by Serve. A replica whose graph no longer gives probabilities is replaced."""
        probabilities = await self._run(np.zeros((1, *self._shape), np.uint8))
        if probabilities.shape != (1, self._columns) or not np.isfinite(probabilities).all():
            raise BrokenBundle(f"version {self._args.version} answers with {probabilities.shape}, not probabilities")

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Called by Serve where the number of replicas follows the load."""
        return {DEMAND: self._demand.read()}

    async def images_answered(self) -> tuple[str, int]:
        """This replica's id, and how many images it was sent since it started."""
        return serve.get_replica_context().replica_id.unique_id, self._images
