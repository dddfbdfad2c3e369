"""All versions a router may send to, and the change from one traffic file to the next.

A new traffic file takes effect as a whole, once every version that it gives traffic has answered a
warm-up. Until then, and when it cannot be used at all, the former one stays. A router that has none
yet begins with the champion, which stands in for whoever is missing. Nothing here raises into Serve:
a replica whose `reconfigure` raises is restarted for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from app.alike import check_alike
from app.artifact import Manifest
from app.errors import ClusterError, MantaError
from app.strict_model import first_complaint
from app.traffic_file import CHAMPION, TrafficFile, TrafficVersion
from serve_deployments.assignment import Assignment
from serve_deployments.metrics import Tally
from serve_deployments.schemas import RouterArgs
from serve_deployments.served_version import ServedVersion

logger = logging.getLogger("ray.serve")

SWITCH_WAIT_S = 10.0
"""How long `apply` waits for the change: a new router replica takes requests only after it."""
RETRY_S = 0.5
MISSING_RETRY_S = 5.0
"""Between two attempts to reach a version that is left out."""
COUNT_INTERVAL_S = 0.25


@dataclass(frozen=True, slots=True)
class Deployed:
    """One traffic file in effect. A request keeps the one that it began with."""

    traffic: TrafficFile = field(default_factory=TrafficFile)
    versions: Mapping[str, ServedVersion] = field(default_factory=dict)
    assignment: Assignment = field(default_factory=lambda: Assignment(TrafficFile()))

    @property
    def champion(self) -> ServedVersion | None:
        champion = self.traffic.champion
        return self.versions.get(champion.version) if champion else None

    @property
    def manifest(self) -> Manifest:
        """Labels and input, which all versions share. Raises ClusterError when there is none."""
        for version in self.versions.values():
            return version.manifest
        raise ClusterError("no model is deployed yet")


class Fleet:
    def __init__(self, args: RouterArgs, tally: Tally) -> None:
        self._args = args
        self._tally = tally
        self._switch: asyncio.Task[None] | None = None
        self._counter: asyncio.Task[None] | None = None
        self.deployed = Deployed()
        self.problem: str | None = None
        """Why a newer file is not in effect."""

    def __getitem__(self, version: str) -> ServedVersion:
        return self.deployed.versions[version]

    @property
    def traffic(self) -> TrafficFile:
        """The file in effect."""
        return self.deployed.traffic

    @property
    def champion(self) -> ServedVersion | None:
        return self.deployed.champion

    @property
    def versions(self) -> list[ServedVersion]:
        return list(self.deployed.versions.values())

    def suspend(self, applications: Collection[str]) -> None:
        """These, and no others, get none of the users that are assigned to them: the champion stands in."""
        for version in self.versions:
            version.suspended = version.spec.application in applications

    async def apply(self, user_config: dict[str, Any]) -> None:
        """Puts a traffic file into effect, or says in `problem` why not. Never raises."""
        if self._counter is None:
            self._counter = asyncio.create_task(self._count_places())
        if self._switch is not None:
            self._switch.cancel()
        try:
            traffic = TrafficFile.model_validate(user_config)
        except ValidationError as error:
            self._report(f"the traffic file is not valid: {first_complaint(error)}")
            return
        in_effect = asyncio.Event()
        self._switch = asyncio.create_task(self._switch_to(traffic, in_effect))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(in_effect.wait(), SWITCH_WAIT_S)

    async def _switch_to(self, traffic: TrafficFile, in_effect: asyncio.Event) -> None:
        """Tries until it works or a newer file comes: the application may still be starting."""
        while True:
            try:
                versions = await self._prepare(traffic)
            except MantaError as error:
                self._report(str(error))
            except Exception as error:
                logger.exception("revision %d cannot be applied", traffic.revision)
                self._report(f"internal error: {type(error).__name__}")
            else:
                break
            await asyncio.sleep(RETRY_S)
        for spec in traffic.versions:  # only now: until all are there, the former weights hold
            if spec.version in versions:
                versions[spec.version].spec = spec
        self._put_into_effect(traffic, versions)
        shares = ", ".join(f"{spec.version} at {spec.weight:g}" for spec in traffic.versions)
        logger.info("revision %d is in effect: %s", traffic.revision, shares or "no versions")
        in_effect.set()
        while missing := [spec for spec in traffic.versions if spec.version not in self.deployed.versions]:
            await asyncio.sleep(MISSING_RETRY_S)
            await self._add(missing)

    def _put_into_effect(self, traffic: TrafficFile, versions: Mapping[str, ServedVersion]) -> None:
        self.deployed = Deployed(traffic, versions, Assignment(traffic, available=versions))
        missing = [name for name in traffic.weights if name not in versions]
        self.problem = f"the champion stands in for {', '.join(missing)}: not reached yet" if missing else None

    async def _add(self, missing: Sequence[TrafficVersion]) -> None:
        """Those of a file in effect that can be reached now."""
        for spec in missing:
            versions = dict(self.deployed.versions)
            try:
                versions[spec.version] = await self._warm(spec, versions)
            except MantaError as error:
                logger.warning("version %s is still left out: %s", spec.version, error)
            except Exception:
                logger.exception("version %s is still left out", spec.version)
            else:
                self._put_into_effect(self.deployed.traffic, versions)
                logger.info("version %s is not left out any more", spec.version)

    async def _prepare(self, traffic: TrafficFile) -> dict[str, ServedVersion]:
        """All versions of the file, warm and alike, but for those that can be left out. Raises MantaError."""
        prepared: dict[str, ServedVersion] = {}
        # The champion comes first: it is what the others must be like.
        for spec in sorted(traffic.versions, key=lambda spec: CHAMPION not in spec.aliases):
            needed = CHAMPION in spec.aliases or (spec.weight > 0 and self._worth_waiting(spec, traffic))
            try:
                prepared[spec.version] = await self._warm(spec, prepared)
            except MantaError as error:
                if needed:
                    raise
                logger.warning("version %s is left out: %s", spec.version, error)
        return prepared

    def _worth_waiting(self, challenger: TrafficVersion, traffic: TrafficFile) -> bool:
        """Whether the former file does better meanwhile: it does not where the champion stands in for it as well."""
        if traffic.champion is None:
            return True
        left_out = challenger.version in self.traffic.weights and challenger.version not in self.deployed.versions
        return bool(self.deployed.versions) and not left_out

    async def _warm(self, spec: TrafficVersion, others: Mapping[str, ServedVersion]) -> ServedVersion:
        """Raises MantaError when it cannot be reached, or is not like the others."""
        version = await self._reuse_or_open(spec)
        if others:
            first, reference = next(iter(others.items()))
            check_alike(spec.version, version.manifest, first, reference.manifest)
        await version.warm_up()
        return version

    async def _reuse_or_open(self, spec: TrafficVersion) -> ServedVersion:
        known = self.deployed.versions.get(spec.version)
        if known is not None and known.is_for(spec):
            return known
        return await ServedVersion.open(spec, self._args, self._tally)

    async def _count_places(self) -> None:
        while True:
            for version in self.versions:
                version.count_places()
            await asyncio.sleep(COUNT_INTERVAL_S)

    def _report(self, problem: str) -> None:
        if problem != self.problem:
            logger.error("revision %d stays in effect: %s", self.traffic.revision, problem)
        self.problem = problem
