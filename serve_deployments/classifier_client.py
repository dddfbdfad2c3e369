"""A router's line to one classifier application: batches with retries, and how many replicas run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import grpc  # type: ignore[import-untyped]
import numpy as np
from ray import serve
from ray.exceptions import RayActorError, TaskCancelledError
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    RayServeException,
    RequestCancelledError,
)
from ray.serve.handle import DeploymentHandle

from app.errors import ClusterError, Overloaded

logger = logging.getLogger("ray.serve")

REPLICA_LOST = (RayActorError, grpc.RpcError, RequestCancelledError, TaskCancelledError)
"""The replica died, left or could not be reached. Prediction changes nothing, so it can be repeated."""


class ClassifierClient:
    """Calls one application. Made by `connect`, on the event loop that will use it."""

    def __init__(self, application: str, handle: DeploymentHandle[Any], *, retries: int) -> None:
        self.application = application
        # Arrays and plain values only cross this hop, so the plain pickle does, at a fifth of the time.
        self._predict = handle.options(
            method_name="predict", request_serialization="pickle", response_serialization="pickle"
        )
        self._retries = retries
        self._warned = False

    @classmethod
    async def connect(cls, application: str, *, retries: int) -> ClassifierClient:
        """Raises ClusterError when no such application is deployed."""
        try:
            # In a thread, because it asks Serve's controller and waits for the answer.
            handle = await asyncio.to_thread(serve.get_app_handle, application)
        except RayServeException as error:
            raise ClusterError(f"application {application} is not deployed") from error
        return cls(application, handle, retries=retries)

    async def predict(self, images: Sequence[np.ndarray], waiting: float = 0.0) -> list[np.ndarray]:
        """images: uint8 [H, W, 3] each, all of the input size. Returns float32 [C] for each.

        waiting: images that wait here for each replica. A call whose replica is lost is repeated on another one.
        Raises ClusterError or Overloaded.
        """
        batch = images[0][np.newaxis] if len(images) == 1 else np.stack(images)
        left = self._retries
        while True:
            try:
                return list(await self._predict.remote(batch, waiting))
            except REPLICA_LOST as error:
                logger.warning("%s: a replica was lost (%s), %d retries left", self.application, error, left)
                if not left:
                    raise ClusterError(f"{self.application}: every replica that was tried was lost") from error
                left -= 1
            except BackPressureError as error:
                raise Overloaded(f"{self.application} has too many calls waiting") from error
            except DeploymentUnavailableError as error:
                raise ClusterError(f"{self.application} is not available") from error

    def running_replicas(self) -> int:
        """How many replicas take calls now.

        Serve's controller pushes the list to every handle, so this is current and costs nothing, but
        Ray has no public way to read it. Where a later Ray moved it: 1 as soon as any replica was seen.
        """
        try:
            known = self._predict._router._asyncio_router.request_router  # type: ignore[union-attr]
            return len(known.curr_replicas) if known is not None else 0
        except AttributeError:
            if not self._warned:
                self._warned = True
                logger.warning("this Ray does not tell how many replicas run; one is assumed")
            return int(self._predict.running_replicas_populated())
