"""Changing what is served, in an order that never sends traffic to a version that is not warm.

1. new versions start beside the old ones, under the old traffic file;
2. when they run, the router gets the new traffic file (in place, 0.2 to 0.4 s);
3. what the new file does not name is dropped.

When step 1 fails the document from before is put back, and the old service never noticed.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.artifact import local_folder, read_manifest
from app.config import DEFAULT_HTTP_PORT, http_host
from app.errors import BadInput, ClusterError
from cluster.ports import check_port_free
from cluster.serve_client import Progress, ServeClient, ServeState, wait_until_answering
from cluster.serve_document import (
    ROUTER,
    Scale,
    ServedVersion,
    Traffic,
    build_document,
    check_compatible,
    classifier_application,
    router_application,
    with_traffic,
)

_DRAIN_S = 1.0
"""Between the new traffic file and the end of old versions: calls that a router had begun still end there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a deployment does, decided before anything is touched."""

    before: Mapping[str, Mapping[str, Any]]
    """Applications that run now, by name."""
    after: Mapping[str, Mapping[str, Any]]
    traffic_before: Traffic
    traffic_after: Traffic

    @property
    def added(self) -> list[str]:
        """New or changed applications besides the traffic file."""
        return [name for name, config in self.after.items() if name != ROUTER and config != self.before.get(name)]

    @property
    def dropped(self) -> list[str]:
        return [name for name in self.before if name not in self.after]


def start_serve(client: ServeClient, *, host: str, port: int) -> None:
    """Starts Serve's controller and proxy without an application, which a first deployment then does not wait for."""
    state = client.state()
    if state.port is None:
        check_port_free(host, port)
        client.put(build_document((), host=host, port=port))


def deploy(
    client: ServeClient,
    model: str,
    versions: Sequence[ServedVersion],
    *,
    host: str,
    port: int,
    scale: Scale | None = None,
    router_scale: Scale | None = None,
    timeout_s: float = 120.0,
    on_progress: Progress | None = None,
) -> Traffic:
    """Serves exactly these versions of `model` and returns the traffic file that is live then.

    `scale` and `router_scale` hold for applications that do not run yet; running ones stay as they are.
    Raises BadInput for versions that cannot be served together, PortInUse, and ClusterError with a
    version's own failure, after which the old versions serve as before.
    """
    _check_versions(versions)
    state = client.state()
    _take_address(client, state, host, port)
    plan = plan_deployment(state, model, versions, scale=scale, router_scale=router_scale)
    try:
        _put(client, {**plan.before, **plan.after}, plan.traffic_before, host, port)
        client.wait_until_running([ROUTER, *plan.added], timeout_s=timeout_s, on_progress=on_progress)
    except BaseException:
        client.put(build_document(plan.before.values(), host=host, port=port))
        raise
    _put(client, {**plan.before, **plan.after}, plan.traffic_after, host, port)
    client.wait_until_running([ROUTER], timeout_s=timeout_s, on_progress=on_progress)
    if plan.dropped:
        time.sleep(_DRAIN_S)
        _put(client, plan.after, plan.traffic_after, host, port)
    return plan.traffic_after


def put_live(
    client: ServeClient,
    model: str,
    champion: ServedVersion,
    *,
    port: int,
    scale: Scale | None = None,
    on_progress: Progress | None = None,
    check: Callable[[str], object] = lambda _url: None,
) -> str:
    """Gives all traffic to one version, as champion, and returns the URL once it answers there.

    `check` is called with the URL. Raises what it and `deploy` raise, and ClusterError when the service does
    not get ready; what was served before is then served again.
    """
    host = http_host()
    before = client.state().declared
    champion = dataclasses.replace(champion, aliases=tuple({*champion.aliases, "champion"}), weight=1.0)
    deploy(client, model, [champion], host=host, port=port, scale=scale, on_progress=on_progress)
    url = service_url(host, port)
    try:
        wait_until_answering(url)
        check(url)
    except BaseException:
        client.put(build_document(before.values(), host=host, port=port))
        raise
    return url


def service_url(host: str | None, port: int) -> str:
    """Where a client on this machine asks."""
    return f"http://{'127.0.0.1' if host in (None, '0.0.0.0') else host}:{port}"


def service_port(client: ServeClient, wanted: int | None) -> int:
    """The port that was asked for, else that of the service that runs, else the default."""
    return wanted or client.state().port or DEFAULT_HTTP_PORT


def set_traffic(client: ServeClient, traffic: Traffic, *, timeout_s: float = 30.0) -> Traffic:
    """Changes weights and aliases of versions that already run. Returns the file with its new revision.

    `traffic.revision` is the one the change was made from. Raises ClusterError when it is not the live
    one any more (somebody else changed it in between) or when a version does not run.
    """
    state = client.state()
    live = state.traffic
    if live is None or state.host is None or state.port is None:
        raise ClusterError("nothing is served yet; deploy a version with `manta serve`")
    if live.revision != traffic.revision:
        raise ClusterError(f"the traffic file changed to revision {live.revision} meanwhile; look again and repeat")
    for served in traffic.versions:
        if served.application not in state.declared:
            raise ClusterError(f"version {served.version} is not deployed; deploy it with `manta serve`")
    changed = Traffic(model=traffic.model, versions=traffic.versions, revision=traffic.revision + 1)
    _put(client, state.declared, changed, state.host, state.port)
    client.wait_until_running([ROUTER], timeout_s=timeout_s)
    return changed


def plan_deployment(
    state: ServeState,
    model: str,
    versions: Sequence[ServedVersion],
    *,
    scale: Scale | None = None,
    router_scale: Scale | None = None,
) -> Plan:
    """Which applications stay, come and go. Those that are not Manta's stay."""
    before = state.declared
    after = {name: config for name, config in before.items() if not name.startswith("classifier-")}
    after.setdefault(ROUTER, router_application(router_scale))
    versions = [served.beside(before) for served in versions]
    for served in versions:
        after[served.application] = before.get(served.application) or classifier_application(served, scale)
    live = state.traffic or Traffic(model=model)
    wanted = Traffic(model=model, versions=tuple(versions), revision=live.revision + 1)
    return Plan(before=before, after=after, traffic_before=live, traffic_after=wanted)


def _put(
    client: ServeClient, applications: Mapping[str, Mapping[str, Any]], traffic: Traffic, host: str, port: int
) -> None:
    router = with_traffic(applications[ROUTER], traffic)
    client.put(build_document({**applications, ROUTER: router}.values(), host=host, port=port))


def _check_versions(versions: Sequence[ServedVersion]) -> None:
    """Raises BadInput, and NotFound or BrokenBundle for a bundle that cannot be read from here."""
    if sum(served.weight for served in versions) <= 0:
        raise BadInput("no version has a weight above 0, so nobody would answer")
    names = [served.version for served in versions]
    if len(set(names)) < len(names):
        raise BadInput(f"a version is named twice: {', '.join(names)}")
    champion = next((served.version for served in versions if "champion" in served.aliases), names[0])
    manifests = {served.version: read_manifest(local_folder(served.bundle_uri)) for served in versions}
    check_compatible(manifests, champion)


def _take_address(client: ServeClient, state: ServeState, host: str, port: int) -> None:
    """Serve cannot move to another port while it runs, and would only log a warning."""
    if (state.host, state.port) == (host, port):
        return
    if state.applications:
        raise ClusterError(
            f"the service already listens on {state.host}:{state.port}; stop it with `manta down` to move it"
        )
    if state.port is not None:
        client.shutdown()
    check_port_free(host, port)
