"""One model version as a router sees it: what its manifest says, the line to its replicas, its queue."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np

from app.artifact import InputSpec, Manifest, local_folder, read_manifest
from app.errors import BrokenBundle, ClusterError
from app.self_test import SelfTest, read_self_test
from app.service_options import MIB
from app.traffic_file import TrafficVersion
from serve_deployments.batch_statistics import SentBatch
from serve_deployments.batcher import Batcher, BatchLimits
from serve_deployments.breaker import Breaker
from serve_deployments.classifier_client import ClassifierClient
from serve_deployments.deployment_view import VersionView
from serve_deployments.metrics import Tally
from serve_deployments.schemas import RouterArgs

WARM_UP_TIMEOUT_S = 5.0
WAITING_BYTES = 128 * MIB
"""Memory for decoded images that wait for one version: as many as the options allow of small ones, fewer large ones."""


def most_waiting(args: RouterArgs, image: InputSpec) -> int:
    """Images of this size that may wait for a version; a whole request always may."""
    return max(args.max_images, min(args.max_queued_images, WAITING_BYTES // (image.height * image.width * 3)))


class ServedVersion:
    """Gets no traffic before `warm_up` has returned."""

    def __init__(
        self,
        spec: TrafficVersion,
        manifest: Manifest,
        client: ClassifierClient,
        args: RouterArgs,
        tally: Tally,
        self_test: SelfTest | None = None,
    ) -> None:
        self.spec = spec
        self.manifest = manifest
        self._self_test = self_test
        self.warm = False
        self.suspended = False
        """It broke a guardrail: nobody but who asks for it is sent here."""
        self.breaker = Breaker(pause_s=args.breaker_pause_s)
        self._client = client
        self._tally = tally
        self._places_per_replica = args.places_per_replica
        self.batcher: Batcher[np.ndarray, np.ndarray] = Batcher(
            self._predict,
            places=0,
            limits=BatchLimits(
                max_batch=args.max_batch, max_queued=most_waiting(args, manifest.input), timeout_s=args.call_timeout_s
            ),
            on_batch=self._count_batch,
        )

    @classmethod
    async def open(cls, spec: TrafficVersion, args: RouterArgs, tally: Tally) -> ServedVersion:
        """Raises NotFound or BrokenBundle for the bundle, ClusterError when the application is not deployed."""
        folder = local_folder(spec.bundle_uri)
        manifest = await asyncio.to_thread(read_manifest, folder)
        self_test = await asyncio.to_thread(read_self_test, folder, manifest)
        client = await ClassifierClient.connect(spec.application, retries=args.retries)
        return cls(spec, manifest, client, args, tally, self_test)

    def is_for(self, spec: TrafficVersion) -> bool:
        """Whether `spec` names the same graph in the same application; weight and aliases may differ."""
        return (self.spec.application, *self.spec.graph) == (spec.application, *spec.graph)

    async def warm_up(self) -> None:
        """The bundle's own image, or a black one, through the whole line.

        Raises ClusterError or BrokenBundle when it does not come back, or with another answer than the bundle names.
        """
        if self.warm:
            return
        shape, test = self.manifest.input, self._self_test
        image = test.pixels if test else np.zeros((shape.height, shape.width, 3), np.uint8)
        try:
            async with asyncio.timeout(WARM_UP_TIMEOUT_S):
                rows = await self._client.predict([image])
        except TimeoutError as error:
            raise ClusterError(f"version {self.spec.version} has no replica that answers") from error
        columns, labels = len(rows[0]), len(self.manifest.labels)
        if columns != labels:
            raise BrokenBundle(f"version {self.spec.version} answers {columns} probabilities for {labels} labels")
        if test is not None:
            test.check(self.spec.variant, rows[0])
        self.warm = True
        self.count_places()

    async def _predict(self, images: list[np.ndarray]) -> list[np.ndarray]:
        return await self._client.predict(images, self.batcher.queued / max(1, self.running_replicas()))

    def count_places(self) -> None:
        """Follows the number of running replicas."""
        self.batcher.set_places(self.running_replicas() * self._places_per_replica)

    def running_replicas(self) -> int:
        return self._client.running_replicas()

    def view(self) -> VersionView:
        return VersionView(self.spec.version, self.manifest, self.running_replicas())

    def _count_batch(self, batch: SentBatch) -> None:
        if not batch.answered:
            return
        name = self.spec.version
        self._tally.observe("manta_batch_images", (name,), batch.items)
        self._tally.observe("manta_stage_seconds", (name, "queue"), batch.waited_s[0])
        self._tally.observe("manta_stage_seconds", (name, "infer"), batch.took_s)

    def describe(self) -> dict[str, Any]:
        """For `GET /model/info`."""
        variant = self.manifest.variants.get(self.spec.variant)
        return {
            "version": self.spec.version,
            "aliases": list(self.spec.aliases),
            "weight": self.spec.weight,
            "application": self.spec.application,
            "variant": self.spec.variant,
            "accuracy": variant.accuracy if variant else None,
            "running_replicas": self.running_replicas(),
            "warm": self.warm,
            "taken_out": self.breaker.reason if self.breaker.is_open else None,
            "images_waiting": self.batcher.queued,
            "images_in_flight": self.batcher.in_flight,
        }
