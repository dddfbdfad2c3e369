"""Which ports are free, and a block of them for each local cluster."""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import psutil

from app.errors import ClusterError, PortInUse

_FIRST_BLOCK, _LAST_BLOCK, _BLOCK = 20000, 29500, 500
"""Below the range that systems hand out to outgoing connections, and outside Serve's own 30000 to 31000."""
_FOR_SERVERS = range(10_000, _FIRST_BLOCK)
"""Of the same kind, and outside those blocks."""


@dataclass(frozen=True, slots=True)
class ServePorts:
    """One block of ports for Serve in one cluster. Serve binds them only when it starts, maybe hours later."""

    base: int

    @property
    def http(self) -> range:
        """Where replicas with an HTTP server listen for the proxy."""
        return range(self.base, self.base + 200)

    @property
    def grpc(self) -> range:
        return range(self.base + 200, self.base + 400)

    @property
    def stats(self) -> int:
        return self.base + 400

    @property
    def metrics(self) -> int:
        return self.base + 401

    @property
    def fallback_http(self) -> int:
        return self.base + 402

    @property
    def fallback_grpc(self) -> int:
        return self.base + 403


def check_port_free(host: str, port: int, *, option: str = "--port") -> None:
    """Raises PortInUse with one line that names the option to change."""
    if not _is_free(host, port):
        raise PortInUse(f"port {port} is in use; choose another with {option}")


def free_port() -> int:
    """A port that nobody listens on right now, and that no outgoing connection is given in the meantime.

    Raises ClusterError when none is found.
    """
    for port in random.sample(_FOR_SERVERS, 100):
        if _is_free("127.0.0.1", port):
            return port
    raise ClusterError(f"no free port between {_FOR_SERVERS.start} and {_FOR_SERVERS.stop} was found")


def free_serve_ports() -> ServePorts:
    """The first block that no other cluster claims and that nobody listens in. Raises ClusterError."""
    claimed = set(_claimed_blocks())
    for base in range(_FIRST_BLOCK, _LAST_BLOCK + 1, _BLOCK):
        ports = ServePorts(base)
        wanted = (ports.http.start, ports.stats, ports.metrics, ports.fallback_http, ports.fallback_grpc)
        if base not in claimed and all(_is_free("0.0.0.0", port) for port in wanted):
            return ports
    raise ClusterError(f"no free block of {_BLOCK} ports from {_FIRST_BLOCK} on; stop a cluster with `manta down`")


def _claimed_blocks() -> Iterator[int]:
    """Blocks of clusters whose Serve may not listen yet, read from the environment of their processes."""
    for process in psutil.process_iter():
        try:
            yield int(process.environ()["RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT"])
        except (psutil.Error, KeyError, ValueError, OSError):
            continue


def _is_free(host: str, port: int) -> bool:
    """Whether a server could bind there. Raises ClusterError where the address itself is wrong."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        # As servers do: connections of a server that just left do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise ClusterError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return True
