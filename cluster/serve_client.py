"""Serve's applications on a cluster, over the dashboard's REST API."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from app.errors import ClusterError
from app.traffic_file import TrafficFile
from cluster.dashboard import Dashboard, last_line
from cluster.serve_document import ROUTER, traffic_of

_PATH = "/api/serve/applications/"
_POLL_S = 0.1

Progress = Callable[[Mapping[str, str]], None]
"""Gets the status of each application that is waited for, whenever one of them changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedApplication:
    """One application as Serve reports it."""

    name: str
    status: str
    """NOT_STARTED, DEPLOYING, DEPLOY_FAILED, RUNNING, UNHEALTHY or DELETING."""
    failure: str
    """The last line of what went wrong, or ""."""
    config: Mapping[str, Any] | None
    """The fragment it was deployed from; None for one made with `serve.run`."""
    replicas: int
    running_pids: tuple[int, ...]
    """Processes of the replicas that take requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeState:
    """What runs on the cluster. Without `host` and `port` Serve does not run."""

    host: str | None
    port: int | None
    applications: Mapping[str, ServedApplication]
    grpc_port: int | None = None
    """None where no gRPC service runs."""

    @property
    def declared(self) -> dict[str, Mapping[str, Any]]:
        """The fragments of all applications that a new document would delete if it left them out."""
        return {
            name: application.config
            for name, application in self.applications.items()
            if application.config is not None and application.status != "DELETING"
        }

    @property
    def traffic(self) -> TrafficFile | None:
        """The traffic file, or None without a router."""
        router = self.declared.get(ROUTER)
        return traffic_of(router) if router else None


class ServeClient:
    """Every method raises ClusterError with one clear line when the cluster does not do it."""

    def __init__(self, dashboard_url: str) -> None:
        self._dashboard = Dashboard(dashboard_url)

    def state(self) -> ServeState:
        details = self._dashboard.get(_PATH)
        http_options, grpc_options = details.get("http_options") or {}, details.get("grpc_options") or {}
        return ServeState(
            host=http_options.get("host"),
            port=http_options.get("port"),
            applications={name: _application(each) for name, each in details["applications"].items()},
            grpc_port=grpc_options.get("port") if grpc_options.get("grpc_servicer_functions") else None,
        )

    def put(self, document: Mapping[str, Any]) -> None:
        """Applies a document. Serve answers before the applications run."""
        self._dashboard.put(_PATH, document)

    def shutdown(self) -> None:
        """Ends Serve with all its applications; a no-op where it does not run."""
        self._dashboard.delete(_PATH)

    def close(self) -> None:
        self._dashboard.close()

    def wait_until_running(
        self, names: Collection[str], *, timeout_s: float = 120.0, on_progress: Progress | None = None
    ) -> None:
        """Returns when every named application runs: loaded and warm.

        Raises ClusterError with an application's own failure as soon as one fails, and after `timeout_s`.
        """
        deadline, seen = time.monotonic() + timeout_s, None
        while True:
            applications = self.state().applications
            statuses = {name: applications[name].status if name in applications else "NOT_STARTED" for name in names}
            if on_progress and statuses != seen:
                on_progress(statuses)
            seen = statuses
            if all(status == "RUNNING" for status in statuses.values()):
                return
            for name, status in statuses.items():
                if status == "DEPLOY_FAILED":
                    raise ClusterError(f"{name} did not start: {applications[name].failure}")
            if time.monotonic() > deadline:
                late = (name for name, status in statuses.items() if status != "RUNNING")
                waiting = ", ".join(f"{name} is {statuses[name]}{_why(applications.get(name))}" for name in late)
                raise ClusterError(f"not ready after {timeout_s:.0f} s: {waiting}")
            time.sleep(_POLL_S)


def wait_until_answering(url: str, *, revision: int = 0, timeout_s: float = 30.0) -> None:
    """Returns when `GET <url>/health/ready` is 200: the whole way, from the proxy to the champion.

    revision: of the traffic file that the router has to have in effect, or a later one.
    Raises ClusterError after `timeout_s` with what came instead.
    """
    deadline, answer = time.monotonic() + timeout_s, "nothing"
    with httpx.Client(trust_env=False, timeout=5.0) as client:
        while time.monotonic() < deadline:
            try:
                response = client.get(f"{url}/health/ready")
            except httpx.HTTPError as error:
                answer = str(error) or type(error).__name__
            else:
                if response.status_code == 200 and (not revision or response.json()["revision"] >= revision):
                    return
                answer = f"{response.status_code} {response.text[:200]}"
            time.sleep(_POLL_S)
    wanted = f"200 at revision {revision}" if revision else "200"
    raise ClusterError(f"{url}/health/ready is not {wanted} after {timeout_s:.0f} s: {answer}")


def _why(application: ServedApplication | None) -> str:
    """What went wrong so far: Serve starts a replica that failed three times before it gives up."""
    return f" ({application.failure})" if application and application.failure else ""


def _application(details: Mapping[str, Any]) -> ServedApplication:
    deployments = details["deployments"].values()
    replicas = [replica for each in deployments for replica in each["replicas"]]
    # The replica's own error is with the deployment; the application only says which deployment failed.
    said = [each["message"] for each in deployments if each["status"] != "HEALTHY" and each["message"]]
    return ServedApplication(
        name=details["name"],
        status=details["status"],
        failure=last_line(said[0] if said else details["message"]) if details["status"] != "RUNNING" else "",
        config=details["deployed_app_config"],
        replicas=len(replicas),
        running_pids=tuple(replica["pid"] for replica in replicas if replica["state"] == "RUNNING"),
    )
