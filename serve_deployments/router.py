"""The ingress deployment: HTTP in, one batched call per version out.

    request -> http_api -> choose(traffic) -> decode -> batcher of that version -> classifier replicas

The traffic file is the `user_config`; a changed one is applied in place and drops nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from app.errors import BadImage, BadInput, ClusterError, NotFound
from serve_deployments.decoder import Decoded, Decoder
from serve_deployments.deployment_view import DeploymentView
from serve_deployments.fleet import Fleet
from serve_deployments.http_api import Answer, Classified, HttpApi, Readiness, openapi_json
from serve_deployments.request_body import Bodies
from serve_deployments.schemas import RouterArgs
from serve_deployments.served_version import ServedVersion
from serve_deployments.traffic import Caller, choose


class Service:
    """The router without Serve around it: a `Predictor`."""

    def __init__(self, args: RouterArgs) -> None:
        self.fleet = Fleet(args)
        self._decoder = Decoder(inline_pixels=args.inline_pixels, threads=args.decode_threads)

    async def classify(self, images: Sequence[bytes], caller: Caller) -> Answer:
        """Raises ClusterError without a model, Overloaded, TimeoutError. A bad image is a row of the answer."""
        version = self._version_for(caller)
        decoded = await self._decoder.decode(images, version.manifest.input)
        good = [image for image in decoded if isinstance(image, Decoded)]
        results = iter(await version.batcher.submit([image.pixels for image in good]))
        rows: list[Classified | BadImage] = [
            Classified(next(results), image.shape) if isinstance(image, Decoded) else image for image in decoded
        ]
        return Answer(version.spec.version, version.manifest.labels, rows)

    async def classify_pixels(self, pixels: np.ndarray, caller: Caller) -> Answer:
        """pixels: uint8 [N, H, W, 3] RGB. Raises what `classify` raises, and BadInput for another size."""
        version = self._version_for(caller)
        shape = (version.manifest.input.height, version.manifest.input.width, 3)
        if pixels.shape[1:] != shape:
            raise BadInput(f"version {version.spec.version} takes images of shape {list(shape)}")
        results = await version.batcher.submit(list(pixels))
        return Answer(version.spec.version, version.manifest.labels, [Classified(row, shape) for row in results])

    def _version_for(self, caller: Caller) -> ServedVersion:
        """Raises NotFound when the caller names a version that is not deployed."""
        if caller.version is None:
            return self.fleet[choose(self.fleet.traffic, caller).version]
        for version in self.fleet.versions:
            if version.spec.version == caller.version:
                return version
        raise NotFound(f"version {caller.version[:100]!r} is not deployed")

    def deployment(self) -> DeploymentView:
        champion = self.fleet.champion
        return DeploymentView(
            model=self.fleet.traffic.model,
            versions=tuple(version.view() for version in self.fleet.versions),
            champion=champion.spec.version if champion else None,
        )

    def readiness(self) -> Readiness:
        """Ready: the champion is warm and at least one of its replicas runs."""
        champion = self.fleet.champion
        details = {"model": self.fleet.traffic.model, "revision": self.fleet.traffic.revision}
        if champion is None:
            missing = "no version is the champion" if self.fleet.traffic.versions else "no model is deployed yet"
            return Readiness(self.fleet.problem or missing, details)
        details["model_version"] = champion.spec.version
        details["problem"] = self.fleet.problem  # a newer file that is not in effect does not stop the service
        if champion.running_replicas() == 0:
            return Readiness(f"no replica of version {champion.spec.version} runs", details)
        return Readiness(None, details)

    def model_info(self) -> dict[str, Any]:
        """The champion and all versions. Raises ClusterError without a champion."""
        champion = self.fleet.champion
        if champion is None:
            raise ClusterError(self.fleet.problem or "no model is deployed yet")
        manifest = champion.manifest
        return {
            "model": self.fleet.traffic.model,
            "model_version": champion.spec.version,
            "model_path": champion.spec.bundle_uri,
            "architecture": manifest.architecture,
            "input_shape": [-1, manifest.input.height, manifest.input.width, 3],
            "output_shape": [-1, len(manifest.labels)],
            "num_classes": len(manifest.labels),
            "class_names": manifest.labels,
            "revision": self.fleet.traffic.revision,
            "versions": [version.describe() for version in self.fleet.versions],
        }


class Router:
    def __init__(self, args: RouterArgs) -> None:
        self._service = Service(args)
        bodies = Bodies(max_bytes=args.max_body_bytes, max_bytes_in_all=args.max_body_bytes_in_all)
        self._api = HttpApi(self._service, bodies, max_images=args.max_images)
        openapi_json()  # parsed here, not while the first request waits

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Called by Serve with the traffic file, at the start and whenever it changes. Never raises."""
        await self._service.fleet.apply(user_config)

    async def __call__(self, request: Request) -> Response:
        return await self._api.handle(request)
