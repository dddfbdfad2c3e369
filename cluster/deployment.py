"""Changing what is served, in an order that never sends traffic to a version that is not warm.

1. new versions start beside the old ones, under the old traffic file;
2. when they run, the router gets the new traffic file (in place, 0.2 to 0.4 s), and the service is checked: a new
   champion has to answer;
3. what the new file does not name is dropped.

A router that is lost, or waits for a node, holds nothing back: it begins with the file that it finds.

When step 1 or 2 fails the document from before is put back; what it names still runs.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.alike import check_alike
from app.artifact import local_folder, read_manifest
from app.config import DEFAULT_HTTP_PORT, Home, grpc_port, http_host
from app.errors import ClusterError
from app.traffic_changes import replaced
from app.traffic_file import TrafficFile
from cluster.ports import check_port_free
from cluster.serve_client import Progress, ServeClient, ServeState, wait_until_answering
from cluster.serve_document import (
    CONTROL,
    ROUTER,
    Scale,
    build_document,
    classifier_application,
    configured,
    control_application,
    place,
    rescaled,
    router_application,
    with_traffic,
)
from cluster.serve_lock import changing

logger = logging.getLogger("ray.serve")

_DRAIN_S = 1.0
"""Between the new traffic file and the end of old versions: calls that a router had begun still end there."""
_TAKE_UP_S = 10.0
"""Routers take a new traffic file over in less than a second, those that run."""

Change = Callable[[TrafficFile, Mapping[str, Mapping[str, Any]]], TrafficFile]
"""From the traffic file in effect, and the applications that run, to the next one. `change` raises its revision."""

Check = Callable[[str], object]
"""Gets the service's URL, and raises when it must not stay as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the service listens."""

    host: str = field(default_factory=http_host)
    port: int = DEFAULT_HTTP_PORT
    grpc_port: int | None = field(default_factory=grpc_port)

    def document(self, applications: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """The Serve document that has these applications listen here."""
        return build_document(applications, host=self.host, port=self.port, grpc_port=self.grpc_port)

    def check_free(self) -> None:
        """Raises PortInUse."""
        check_port_free(self.host, self.port)
        if self.grpc_port is not None:
            check_port_free(self.host, self.grpc_port, option="MANTA_GRPC_PORT")

    @property
    def url(self) -> str:
        return service_url(self.host, self.port)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a change does, decided before anything is touched."""

    before: Mapping[str, Mapping[str, Any]]
    """Applications that run now, by name."""
    after: Mapping[str, Mapping[str, Any]]
    traffic_before: TrafficFile
    traffic_after: TrafficFile

    @property
    def added(self) -> list[str]:
        """New or changed applications besides the traffic file."""
        return [name for name, config in self.after.items() if name != ROUTER and config != self.before.get(name)]

    @property
    def router_restarts(self) -> bool:
        """It is new, or its arguments differ; a traffic file alone is taken over in place."""
        before = self.before.get(ROUTER)
        return before is None or before.get("args") != self.after[ROUTER].get("args")

    @property
    def starting(self) -> list[str]:
        """What has to run before the new traffic file is put into effect."""
        return [*self.added, ROUTER] if self.router_restarts else self.added

    @property
    def moves_champion(self) -> bool:
        before, after = self.traffic_before.champion, self.traffic_after.champion
        return after is not None and (before is None or before.graph != after.graph)

    @property
    def dropped(self) -> list[str]:
        return [name for name in self.before if name not in self.after]


def service_address(state: ServeState, port: int | None = None) -> Address:
    """Where the service is to listen: as the user asks, else as it does already, else as by default."""
    return Address(
        host=http_host(state.host),
        port=port or state.port or DEFAULT_HTTP_PORT,
        grpc_port=grpc_port() or state.grpc_port,
    )


def start_serve(client: ServeClient, address: Address) -> None:
    """Starts Serve's controller and proxy without an application, which a first deployment then does not wait for.

    Raises PortInUse, and ClusterError where a service listens elsewhere.
    """
    state = client.state()
    _address(client, state, address)
    if (state.host, state.port, state.grpc_port) != (address.host, address.port, address.grpc_port):
        client.put(address.document(()))


def change(
    client: ServeClient,
    home: Home,
    make: Change,
    *,
    address: Address | None = None,
    scale: Scale | None = None,
    version: str | None = None,
    options: Mapping[str, Any] | None = None,
    timeout_s: float = 120.0,
    on_progress: Progress | None = None,
    check: Check = lambda _url: None,
) -> TrafficFile:
    """Puts the traffic file into effect that `make` makes of the present one, one revision later, and returns it.

    Versions that it names and that do not run yet are started first, with `scale`, which `version` gets also where it
    runs; those it no longer names are dropped. `options` are those of the service that change
    (`app/service_options.py`), with which the router starts anew. `address` is for a service that may not run yet.
    `check` is called with the service's URL before anything is dropped. Nobody else changes the service meanwhile.

    Raises what `make` raises, BadInput for versions that cannot be served together and for options that do not fit
    those that are set, PortInUse, ClusterError with a version's own failure, and what `check` raises, after which the
    old versions serve as before.
    """
    with changing(home):
        state = client.state()
        address = _address(client, state, address)
        live = state.traffic or TrafficFile()
        traffic = make(live, state.declared).after(live)
        _check_alike(live, traffic)
        plan = plan_change(state, traffic, scale, options, version)
        try:
            if plan.starting:
                _put(client, {**plan.before, **plan.after}, plan.traffic_before, address)
                client.wait_until_running(plan.starting, timeout_s=timeout_s, on_progress=on_progress)
            _put(client, {**plan.before, **plan.after}, plan.traffic_after, address)
            _await_routers(client, on_progress)
            if plan.router_restarts or plan.moves_champion:
                wait_until_answering(address.url, revision=traffic.revision)
            check(address.url)
        except BaseException:
            client.put(address.document(plan.before.values()))
            raise
        if plan.dropped:
            time.sleep(_DRAIN_S)
            _put(client, plan.after, plan.traffic_after, address)
        return plan.traffic_after


def put_live(
    client: ServeClient,
    home: Home,
    model: str,
    *,
    version: str,
    bundle_uri: str,
    variant: str = "fp32",
    aliases: tuple[str, ...] = (),
    port: int | None,
    scale: Scale | None = None,
    options: Mapping[str, Any] | None = None,
    on_progress: Progress | None = None,
    check: Check = lambda _url: None,
) -> str:
    """Gives all traffic to one version, as champion, and returns the URL once it answers there.

    Where it is the champion already, the traffic stays as it is and only scale and options change.

    `check` is called with the URL. Raises what it and `change` raise, and ClusterError when the service does
    not get ready; what was served before is then served again.
    """

    def as_champion(traffic: TrafficFile, running: Mapping[str, Mapping[str, Any]]) -> TrafficFile:
        return with_champion(
            traffic, running, model, version=version, bundle_uri=bundle_uri, variant=variant, aliases=aliases
        )

    address = service_address(client.state(), port)
    change(
        client,
        home,
        as_champion,
        address=address,
        scale=scale,
        version=version,
        options=options,
        on_progress=on_progress,
        check=check,
    )
    return address.url


def with_champion(
    traffic: TrafficFile,
    running: Mapping[str, Mapping[str, Any]],
    model: str,
    *,
    version: str,
    bundle_uri: str,
    variant: str,
    aliases: tuple[str, ...],
) -> TrafficFile:
    """All traffic for this graph, as the champion; the same file where it is that already."""
    live = traffic.champion
    if live is not None and (traffic.model, *live.graph) == (model, version, bundle_uri, variant):
        return traffic
    placed = place(running, version=version, bundle_uri=bundle_uri, variant=variant, aliases=aliases)
    return replaced(traffic, model, placed)


def service_url(host: str | None, port: int) -> str:
    """Where a client on this machine asks."""
    loopback = {None: "127.0.0.1", "0.0.0.0": "127.0.0.1", "*": "127.0.0.1", "::": "::1"}
    reached = loopback.get(host, host)
    return f"http://[{reached}]:{port}" if reached and ":" in reached else f"http://{reached}:{port}"


def plan_change(
    state: ServeState,
    traffic: TrafficFile,
    scale: Scale | None = None,
    options: Mapping[str, Any] | None = None,
    version: str | None = None,
) -> Plan:
    """Which applications stay, come and go. Those that are not Manta's stay.

    version: the one that gets the scale where it runs already. Raises BadInput for service options that do not fit
    those that are set already.
    """
    before = state.declared
    after = {name: config for name, config in before.items() if not name.startswith("classifier-")}
    after.setdefault(CONTROL, control_application())
    after[ROUTER] = configured(before.get(ROUTER) or router_application(), scale, options)
    for served in traffic.versions:
        running = before.get(served.application)
        if running is None:
            after[served.application] = classifier_application(served, scale)
        else:
            after[served.application] = rescaled(running, scale) if served.version == version else running
    live = state.traffic or TrafficFile(model=traffic.model)
    return Plan(before=before, after=after, traffic_before=live, traffic_after=traffic)


def _put(
    client: ServeClient, applications: Mapping[str, Mapping[str, Any]], traffic: TrafficFile, address: Address
) -> None:
    router = with_traffic(applications[ROUTER], traffic)
    client.put(address.document({**applications, ROUTER: router}.values()))


def _await_routers(client: ServeClient, on_progress: Progress | None) -> None:
    """Until all follow, or have had the time to; whoever needs them to looks at what they say."""
    try:
        client.wait_until_running([ROUTER], timeout_s=_TAKE_UP_S, on_progress=on_progress)
    except ClusterError as error:
        logger.warning("not every router has taken the new traffic file over: %s", error)


def _check_alike(live: TrafficFile, traffic: TrafficFile) -> None:
    """Looks at bundles that are new: a damaged one of a version that runs must not keep anybody from stopping it.

    Raises BadInput, and NotFound or BrokenBundle for a bundle that cannot be read from here.
    """
    known = {served.bundle_uri for served in live.versions}
    new = [served for served in traffic.versions if served.bundle_uri not in known]
    champion = traffic.champion or next(iter(traffic.versions), None)
    if champion is None or not new:
        return
    reference = read_manifest(local_folder(champion.bundle_uri))
    for served in new:
        check_alike(served.version, read_manifest(local_folder(served.bundle_uri)), champion.version, reference)


def _address(client: ServeClient, state: ServeState, wanted: Address | None) -> Address:
    """Serve cannot move to another port while it runs, and would only log a warning."""
    if wanted is None:
        if state.host is None or state.port is None or state.traffic is None:
            raise ClusterError("nothing is served yet; put a version live with `manta serve`")
        return Address(host=state.host, port=state.port, grpc_port=state.grpc_port)
    if (state.host, state.port, state.grpc_port) == (wanted.host, wanted.port, wanted.grpc_port):
        return wanted
    if state.applications:
        where = f"{state.host}:{state.port}" + (f", gRPC on {state.grpc_port}" if state.grpc_port else "")
        raise ClusterError(f"the service already listens on {where}; stop it with `manta down` to move it")
    if state.port is not None:
        client.shutdown()
    wanted.check_free()
    return wanted
