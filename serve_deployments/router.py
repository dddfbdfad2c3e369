"""The ingress deployment: HTTP in, one batched call per version out.

    request -> http_api -> assignment -> decode -> batcher of that version -> classifier replicas

The traffic file is the `user_config`; a changed one is applied in place and drops nothing.
"""

from __future__ import annotations

import asyncio
import gc
import math
import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import psutil
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from app.errors import BadImage, BadInput, ClusterError
from serve_deployments.admin_api import AdminApi
from serve_deployments.answering import Answering, Asked
from serve_deployments.assignment import TESTED, Arm, Assigned, Caller, Ensemble, Single
from serve_deployments.autoscaling import DEMAND, RouterDemand
from serve_deployments.batch_statistics import summed
from serve_deployments.control_client import ControlClient
from serve_deployments.decoder import Decoded, Decoder
from serve_deployments.deployment_view import DeploymentView
from serve_deployments.fleet import Deployed, Fleet
from serve_deployments.grpc_api import GrpcApi, InferenceService
from serve_deployments.http_api import Answer, Classified, HttpApi, Readiness, openapi_json
from serve_deployments.metrics import Gauges, Histogram, Tally
from serve_deployments.observation import Observer
from serve_deployments.report import LoggedAnswer, Report
from serve_deployments.reporter import Noted, Notes, Reporter
from serve_deployments.request_body import Bodies
from serve_deployments.request_log import RequestLog
from serve_deployments.result_cache import ResultCache
from serve_deployments.schemas import RouterArgs
from serve_deployments.shadow import ShadowTraffic

NEW_OBJECTS_PER_COLLECTION = 20_000
"""A request in flight holds about a hundred objects, and an answered one leaves none that only a collection can free.

With Python's 700, eight new requests start a collection, and all go through the same ones again and again: 10 % of the
router's CPU at 32 clients.
"""


class Service:
    """The router without Serve around it: a `Predictor`."""

    def __init__(self, args: RouterArgs) -> None:
        self.tally = Tally()
        self.fleet = Fleet(args, self.tally)
        self.notes = Notes(args.max_logged_answers, math.ceil(args.observed_images_per_s))
        self._observer = Observer(args.observed_images_per_s, self.notes.observations.add)
        self._decoder = Decoder(inline_pixels=args.inline_pixels, threads=args.decode_threads)
        self._answering = Answering(self.tally, challenger_timeout_s=args.challenger_timeout_s)
        self._shadow = ShadowTraffic(self.tally, max_images=args.max_shadow_images)
        self._cache: ResultCache[Classified] = ResultCache(entries=args.cache_entries, ttl_s=args.cache_ttl_s)

    async def classify(self, images: Sequence[bytes], caller: Caller) -> Answer:
        """A bad image is a row of the answer.

        Raises ClusterError without a model, Overloaded, TimeoutError, and NotFound or BadInput for a version or
        quality that is not deployed.
        """
        deployed = self.fleet.deployed
        assigned = deployed.assignment.assign(caller)
        classify = self._classify_unknown if self._cache.enabled else self._classify_fresh
        rows, arm = await classify(deployed, assigned, images)
        return self._recorded(Answer(_answered_by(rows, assigned), deployed.manifest.labels, rows, arm), caller)

    async def classify_pixels(self, pixels: np.ndarray, caller: Caller) -> Answer:
        """pixels: uint8 [N, H, W, 3] RGB. They are neither decoded nor looked up in the cache.

        Raises what `classify` raises, and BadInput for another size than the model's.
        """
        deployed = self.fleet.deployed
        assigned = deployed.assignment.assign(caller)
        shape = (deployed.manifest.input.height, deployed.manifest.input.width, 3)
        if pixels.shape[1:] != shape:
            raise BadInput(f"the model takes images of shape {list(shape)}, not {list(pixels.shape[1:])}")
        asked = await self._ask(deployed, assigned, list(pixels))
        rows: list[Classified | BadImage] = [Classified(row.probabilities, shape, row.version) for row in asked.rows]
        return self._recorded(Answer(_answered_by(rows, assigned), deployed.manifest.labels, rows, asked.arm), caller)

    async def _classify_unknown(
        self, deployed: Deployed, assigned: Assigned, images: Sequence[bytes]
    ) -> tuple[list[Classified | BadImage], Arm]:
        """Like `_classify_fresh`, but for what the cache has."""
        known = self._cache.look_up(_graph(deployed, assigned), images)
        fresh, arm = await self._classify_fresh(deployed, assigned, known.missing)
        self.tally.count("manta_cache", ("hit",), known.hits)
        self.tally.count("manta_cache", ("miss",), len(fresh))
        known.keep([_own(row, assigned) for row in fresh])
        rest = iter(fresh)
        return [found if found is not None else next(rest) for found in known.found], arm

    async def _classify_fresh(
        self, deployed: Deployed, assigned: Assigned, images: Sequence[bytes]
    ) -> tuple[list[Classified | BadImage], Arm]:
        """Decodes and asks; and which arm answered."""
        arm = assigned.arm if isinstance(assigned, Single) else Arm.QUALITY
        if not images:
            return [], arm
        if isinstance(assigned, Single) and assigned.version == deployed.assignment.champion:
            # Decoding costs more than refusing: at overload it would leave no time for those that can be answered.
            deployed.versions[assigned.version].batcher.check_room(len(images))
        started = time.perf_counter()
        decoded = await self._decoder.decode(images, deployed.manifest.input)
        self.tally.observe("manta_stage_seconds", ("", "decode"), time.perf_counter() - started)
        pixels = [image.pixels for image in decoded if isinstance(image, Decoded)]
        if len(pixels) < len(decoded):
            self.tally.count("manta_bad_images", by=len(decoded) - len(pixels))
        if not pixels:
            return [image for image in decoded if isinstance(image, BadImage)], arm
        asked = await self._ask(deployed, assigned, pixels)
        scored = iter(asked.rows)
        rows = [
            Classified((row := next(scored)).probabilities, image.shape, row.version)
            if isinstance(image, Decoded)
            else image
            for image in decoded
        ]
        return rows, asked.arm

    async def _ask(self, deployed: Deployed, assigned: Assigned, pixels: list[np.ndarray]) -> Asked:
        """And perhaps the shadow too, which nobody waits for. pixels: uint8 [H, W, 3] each, at the input size."""
        asked = await self._answering.ask(assigned, deployed.versions, deployed.assignment.champion, pixels)
        if asked.arm not in TESTED or not pixels:
            return asked
        self._observer.see(deployed.versions[asked.rows[0].version].spec.bundle_uri, pixels, asked.rows)
        shadow = deployed.traffic.shadow
        if shadow is not None:
            version = deployed.versions.get(shadow.version)
            if version is not None and asked.rows[0].version != shadow.version:  # a challenger may be the shadow too
                self._shadow.copy(version, shadow.share, pixels, [row.probabilities for row in asked.rows])
        return asked

    def _recorded(self, answer: Answer, caller: Caller) -> Answer:
        """The answer, once it is counted and noted for feedback."""
        arm, now = answer.arm, time.time()
        self.tally.observe("manta_request_seconds", (answer.version, arm), time.perf_counter() - caller.started)
        for index, row in enumerate(answer.rows):
            if isinstance(row, Classified):
                class_id = int(row.probabilities.argmax())
                confidence = float(row.probabilities[class_id])
                self.notes.answers.add(
                    LoggedAnswer(caller.request_id, index, row.version, arm, class_id, confidence, now)
                )
        return answer

    def labels(self) -> Sequence[str]:
        """Raises ClusterError when nothing is deployed."""
        return self.fleet.deployed.manifest.labels

    def count_http(self, route: str, status: int) -> None:
        self.tally.count("manta_http_requests", (route, str(status)))

    def batches(self) -> Histogram:
        """How many calls of classifiers were answered, and how many images were in them."""
        return self.tally.whole("manta_batch_images")

    def gauges(self) -> Gauges:
        gauges: Gauges = {
            ("manta_cache_entries", ()): float(len(self._cache)),
            ("manta_router_resident_memory_bytes", ()): float(psutil.Process().memory_info().rss),
        }
        for version in self.fleet.versions:
            name = (version.spec.version,)
            gauges["manta_images_waiting", name] = float(version.batcher.queued)
            gauges["manta_images_in_flight", name] = float(version.batcher.in_flight)
            gauges["manta_breaker_open", name] = float(version.breaker.is_open)
            gauges["manta_classifier_replicas", name] = float(version.running_replicas())
        return gauges

    def report(self, router: str, noted: Noted) -> Report:
        fleet = self.fleet
        taken_out = {each.spec.version: each.breaker.reason for each in fleet.versions if each.breaker.is_open}
        return Report(
            router=router,
            revision=fleet.traffic.revision,
            problem=fleet.problem,
            tally=self.tally.copy(),
            gauges=self.gauges(),
            statistics=summed([{each.spec.version: each.batcher.statistics} for each in fleet.versions]),
            taken_out=taken_out,
            answers=noted.answers,
            observations=noted.observations,
        )

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


class Router(InferenceService):
    def __init__(self, args: RouterArgs) -> None:
        self._service = Service(args)
        control = ControlClient()
        bodies = Bodies(max_bytes=args.max_body_bytes, max_bytes_in_all=args.max_body_bytes_in_all)
        replica = serve.get_replica_context().replica_id.unique_id
        log = RequestLog(args.log_requests, {"application": "router", "replica": replica})
        self._api = HttpApi(
            self._service,
            bodies,
            admin=AdminApi(control, bodies, token=os.environ.get("MANTA_ADMIN_TOKEN", "")),
            control=control,
            max_images=args.max_images,
            allow_origins=args.allow_origins,
            log=log,
        )
        self._grpc = GrpcApi(self._service, max_images=args.max_images, max_bytes=args.max_body_bytes, log=log)
        openapi_json()  # parsed here, not while the first request waits

        async def report(noted: Noted) -> None:
            told = await control.report(self._service.report(replica, noted))
            self._service.fleet.suspend(told.suspended)

        self._reporter = Reporter(self._service.notes, report)
        self._reports: asyncio.Task[None] | None = None
        self._demand = RouterDemand(
            calls=lambda: self._service.batches().count,
            images=lambda: self._service.batches().total,
            max_batch=args.max_batch,
        )
        gc.set_threshold(NEW_OBJECTS_PER_COLLECTION, *gc.get_threshold()[1:])

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Called by Serve with the traffic file, at the start and whenever it changes. Never raises."""
        if self._reports is None:
            self._reports = asyncio.create_task(self._reporter.run())
        await self._service.fleet.apply(user_config)

    async def __call__(self, request: Request) -> Response:
        return await self._api.handle(request)

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Called by Serve where the number of replicas follows the load."""
        return {DEMAND: self._demand.read()}


def _graph(deployed: Deployed, assigned: Assigned) -> str | None:
    """What answers of one version can be remembered under. Those that several versions gave are not."""
    if not isinstance(assigned, Single) or assigned.version not in deployed.versions:
        return None
    spec = deployed.versions[assigned.version].spec
    return f"{spec.application} {spec.bundle_uri}"


def _own(row: Classified | BadImage, assigned: Assigned) -> Classified | None:
    """The row, if the version that was asked answered itself."""
    if isinstance(row, BadImage) or not isinstance(assigned, Single) or row.version != assigned.version:
        return None
    return row


def _answered_by(rows: Sequence[Classified | BadImage], assigned: Assigned) -> str:
    """One version, or several joined by +. Where no image could be read, the one that would have been asked."""
    versions = dict.fromkeys(row.version for row in rows if isinstance(row, Classified))
    if versions:
        return "+".join(versions)
    if isinstance(assigned, Single):
        return assigned.version
    return "+".join(assigned.weights) if isinstance(assigned, Ensemble) else assigned.fast
