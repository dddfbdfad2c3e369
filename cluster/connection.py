"""Which cluster a command talks to: the one `RAY_ADDRESS` names, or the one `manta up` started."""

from __future__ import annotations

import os
from dataclasses import dataclass

from app.config import Home
from app.errors import ClusterError
from cluster import jobs, local
from cluster.environment import SERVE_FLAGS, read_token
from cluster.local import LocalCluster

_PRINT_FLAGS = (
    "import json, os, sys; "
    "print('manta-result: ' + json.dumps({'missing': [name for name in sys.argv[1:] if os.environ.get(name) != '1']}))"
)


@dataclass(frozen=True, slots=True)
class Connection:
    """A cluster that answers to this user's token."""

    dashboard_url: str
    local: LocalCluster | None
    """Set when it is the home folder's own cluster."""

    @property
    def headers(self) -> dict[str, str]:
        """What every HTTP request to the dashboard carries."""
        token = read_token()
        return {"Authorization": f"Bearer {token}"} if token else {}


def named_address() -> str | None:
    """The cluster that the user's environment names."""
    return os.environ.get("RAY_API_SERVER_ADDRESS") or os.environ.get("RAY_ADDRESS")


def connect(home: Home) -> Connection:
    """Raises ClusterError when no cluster is named and none was started."""
    started = local.find(home)
    address = named_address()
    if not address:
        if started is None:
            raise ClusterError("no cluster runs; start one with `manta up`, or name one with RAY_ADDRESS")
        return Connection(started.dashboard_url, started)
    if started and address.rstrip("/") in (started.gcs_address, started.dashboard_url):
        return Connection(started.dashboard_url, started)
    return Connection(dashboard_of(address), None)


def missing_serve_flags(connection: Connection) -> tuple[str, ...]:
    """Serve's speed flags that the cluster was started without. Runs a small job on a foreign cluster (2 s)."""
    if connection.local is not None:
        return ()
    command = ("python", "-c", _PRINT_FLAGS, *SERVE_FLAGS)
    outcome = jobs.run_command(connection.dashboard_url, command, name="flags")
    outcome.raise_for_failure()
    return tuple((outcome.result or {}).get("missing", ()))


def dashboard_of(address: str) -> str:
    """The dashboard of a cluster named as Ray names them: a URL, host:port of its head, or `auto`."""
    if address.startswith(("http://", "https://")):
        return address.rstrip("/")
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    # Only here: importing Ray costs every other command most of a second.
    from ray.dashboard.utils import get_address_for_submission_client

    try:
        url = str(get_address_for_submission_client(address))
    except Exception as error:  # Ray raises whatever its C++ side reports
        raise ClusterError(f"no Ray cluster answers at RAY_ADDRESS={address}") from error
    return url if "://" in url else f"http://{url}"
