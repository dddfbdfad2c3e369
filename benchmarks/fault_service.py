"""A service that things are done to under load: its processes by what they do, and the changes it goes through."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any

import psutil

from app.config import Home
from app.errors import ClusterError
from app.replicas import Replicas
from app.traffic_changes import added, replaced, weighted
from app.traffic_file import TrafficVersion
from benchmarks.processes import title
from cluster import haproxy_guard
from cluster.deployment import Address, Change, change
from cluster.processes import marked_processes
from cluster.serve_client import ServeClient, wait_until_answering
from cluster.serve_document import CONTROL, ROUTER, Scale, place

MODEL = "benchmark"
_MANAGER = "ray::HAProxyManager"
_CONTROLLER = "ray::ServeController"
_POLL_S = 0.1


class Part(StrEnum):
    """What can be killed."""

    CLASSIFIER = "classifier replica"
    ROUTER = "router replica"
    HAPROXY = "HAProxy"
    PROXY = "Serve's proxy actor"
    CONTROL = "control"
    CONTROLLER = "Serve's controller"


class FaultService:
    """One model, of which version 1 or 2 is the champion."""

    def __init__(
        self, client: ServeClient, home: Home, mark: str, *, port: int, bundle_uris: Sequence[str], replicas: int = 1
    ) -> None:
        """mark: that of the cluster's processes. bundle_uris: two versions that are alike.

        replicas: of the router, and of each version.
        """
        self._client = client
        self._home = home
        self._mark = mark
        self._address = Address(host="127.0.0.1", port=port)
        self._bundle_uris = bundle_uris
        self._replicas = Replicas(replicas, replicas)
        self._limits = itertools.count(6000)

    @property
    def url(self) -> str:
        return self._address.url

    def start(self) -> None:
        """As `manta serve` does."""
        self._change(self._alone("1"))
        wait_until_answering(self.url)

    # Faults

    def kill(self, part: Part) -> Callable[[], bool]:
        """Kills one process with SIGKILL; the condition that as many as before run again."""
        before = self._pids(part)
        killed = before[0]
        os.kill(killed, signal.SIGKILL)

        def whole() -> bool:
            now = self._pids(part)
            return killed not in now and len(now) >= len(before) and self._runs()

        return whole

    def _pids(self, part: Part) -> list[int]:
        """Empty where Serve does not answer."""
        if part is Part.CONTROLLER:
            return self._titled(_CONTROLLER)
        if part is Part.PROXY:
            return [pid for pid in self._titled(_MANAGER) if _haproxy_of(pid)]
        if part is Part.HAPROXY:
            return [pid for manager in self._titled(_MANAGER) for pid in _haproxy_of(manager)]
        try:
            applications = self._client.state().applications
        except ClusterError:
            return []
        wanted = {Part.ROUTER: ROUTER, Part.CONTROL: CONTROL}.get(part, "classifier-")
        return [pid for name, each in applications.items() if name.startswith(wanted) for pid in each.running_pids]

    def _titled(self, start: str) -> list[int]:
        return [process.pid for process in marked_processes(self._mark) if title(process).startswith(start)]

    def _runs(self) -> bool:
        """Whether Serve answers, and says that all applications run."""
        try:
            return all(each.status == "RUNNING" for each in self._client.state().applications.values())
        except ClusterError:
            return False

    # Changes in place. Each returns when it is done.

    def replace_version(self) -> None:
        """The other version becomes the champion; the one before is dropped."""
        self._change(self._alone(self._other()))

    def add_challenger(self, percent: float) -> None:
        other = self._other()
        self._change(lambda traffic, running: added(traffic, self._placed(running, other), percent))

    def shift_traffic(self, percent: float) -> None:
        """A new share for the challenger, which has one."""
        self._change(lambda traffic, _running: weighted(traffic, {traffic.challengers[0].version: percent}))

    def drop_challenger(self) -> None:
        self._change(self._alone(self._champion()))

    def redeploy_router(self) -> None:
        """With another argument, so that Serve replaces its replicas."""
        applications = self._client.state().declared
        router = applications[ROUTER]
        changed = {**router, "args": {**router["args"], "max_logged_answers": next(self._limits)}}
        before = set(self._pids(Part.ROUTER))
        self._put({**applications, ROUTER: changed})
        wait_until(lambda: not before & set(self._pids(Part.ROUTER)) and self._runs())

    def _put(self, applications: Mapping[str, Mapping[str, Any]]) -> None:
        self._client.put(self._address.document(applications.values()))
        self._client.wait_until_running(list(applications))

    def _change(self, make: Change) -> None:
        scale = Scale(replicas=self._replicas, routers=self._replicas)
        change(self._client, self._home, make, address=self._address, scale=scale)

    def _champion(self) -> str:
        traffic = self._client.state().traffic
        if traffic is None or traffic.champion is None:
            raise ClusterError("no version is the champion")
        return traffic.champion.version

    def _other(self) -> str:
        return "2" if self._champion() == "1" else "1"

    def _alone(self, version: str) -> Change:
        return lambda traffic, running: replaced(traffic, MODEL, self._placed(running, version))

    def _placed(self, running: Mapping[str, Mapping[str, Any]], version: str) -> TrafficVersion:
        return place(running, version=version, bundle_uri=self._bundle_uris[int(version) - 1])


def wait_until(condition: Callable[[], bool], limit_s: float = 90.0) -> None:
    """Raises ClusterError when it takes too long."""
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            raise ClusterError(f"the service is not whole again after {limit_s:.0f} s")
        time.sleep(_POLL_S)


def _haproxy_of(manager: int) -> list[int]:
    """The proxy process that this actor started last; others only end what they began. Empty when none listens."""
    try:
        children = [child for child in psutil.Process(manager).children() if child.name() == "haproxy"]
        newest = max(children, key=psutil.Process.create_time, default=None)
        waits = newest is None or any(word.endswith(haproxy_guard.WAITING) for word in newest.cmdline())
    except psutil.Error:
        return []
    return [] if newest is None or waits else [newest.pid]
