"""One local Ray head for Manta: start it, find it again, stop it.

    with the home folder as its name: `start(home)`, `find(home)`, `stop(home)`

Several clusters live side by side on one machine; each stops only its own processes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from app.config import Home
from app.cores import usable_cores
from app.errors import ClusterError
from cluster import environment, ports, processes

DASHBOARD_PORT = 8265
_HOST = "127.0.0.1"
_START_LIMIT_S = 90.0
_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalCluster:
    """What `manta up` started. Everything needed to use it and to end it."""

    mark: str
    """In the environment of each of its processes, as `MANTA_CLUSTER_ID`."""
    gcs_address: str
    """host:port for `ray.init(address=...)`."""
    dashboard_url: str
    """Where jobs and Serve documents go."""
    num_cpus: int
    """Logical CPUs, the budget that `app.config.CPU` is spent from."""
    pid: int
    folder: str
    """Ray's session and sockets. Its logs move to the home folder when the cluster stops."""

    @property
    def exports(self) -> str:
        """One shell line after which `ray` and `serve` talk to this cluster."""
        return (
            f"export RAY_AUTH_MODE=token RAY_ADDRESS={self.gcs_address} "
            f"RAY_API_SERVER_ADDRESS={self.dashboard_url} RAY_DASHBOARD_ADDRESS={self.dashboard_url}"
        )


def start(
    home: Home,
    *,
    dashboard_port: int | None = None,
    num_cpus: int | None = None,
    object_store_bytes: int | None = None,
) -> LocalCluster:
    """Starts a cluster, or returns the one that already runs for this home folder.

    `dashboard_port` None means 8265, or any free one if that is taken. Raises PortInUse when a port that
    was asked for is taken and ClusterError when Ray does not start; then, and when interrupted, nothing
    is left running.
    """
    home.root.mkdir(parents=True, exist_ok=True)
    with _one_at_a_time(home):
        if found := find(home):
            return found
        stop(home)  # what a crash may have left
        port = _dashboard_port(dashboard_port)
        environment.ensure_token()
        mark = uuid.uuid4().hex
        # Short, and not in the home folder: a Unix socket's path ends at 107 bytes.
        folder = Path("/tmp") / f"manta-{mark[:8]}"
        folder.mkdir(mode=0o700)
        cpus = num_cpus or max(2, usable_cores())
        command = _ray_start(folder, port, cpus, object_store_bytes or _object_store_bytes())
        variables = environment.cluster_environment(home, mark, folder, ports.free_serve_ports(), usable_cores())
        try:
            _run(command, variables, folder / "start.log")
            cluster = LocalCluster(
                mark=mark,
                gcs_address=(folder / "ray_current_cluster").read_text().strip(),
                dashboard_url=f"http://{_HOST}:{port}",
                num_cpus=cpus,
                pid=processes.head_pid(mark) or 0,
                folder=str(folder),
            )
            _write(home, cluster)
        except BaseException:
            processes.stop_marked(mark, patience_s=0.0)
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return cluster


def find(home: Home) -> LocalCluster | None:
    """The cluster that runs for this home folder, or None."""
    cluster = _read(home)
    return cluster if cluster and processes.is_alive(cluster.mark) else None


def stop(home: Home) -> bool:
    """Ends every process of the home folder's cluster within about 5 s; also after its head crashed.

    False when there was none. Raises ClusterError when a process cannot be ended.
    """
    cluster = _read(home)
    if cluster is None:
        return False
    # Without its head no process ends by itself: waiting for it only costs the user's time.
    patience_s = 3.5 if processes.is_alive(cluster.mark) else 0.5
    if not processes.stop_marked(cluster.mark, patience_s=patience_s):
        raise ClusterError(f"some processes of the cluster do not end; those with {environment.MARK}={cluster.mark}")
    _keep_logs(Path(cluster.folder), home.logs / "ray")
    home.cluster_file.unlink(missing_ok=True)
    return True


def _ray_start(folder: Path, dashboard_port: int, num_cpus: int, object_store_bytes: int) -> list[str]:
    """The command. Port 0: whoever listens takes a free one and tells the head."""
    agent = ("dashboard-agent-listen-port", "dashboard-agent-grpc-port", "runtime-env-agent-port")
    self_chosen = ("port", *agent, "metrics-export-port", "min-worker-port", "max-worker-port")
    return [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--disable-usage-stats"),
        # The autoscaler has nothing to do on one machine and costs 1 s of start-up.
        *("--no-monitor", "--include-dashboard=true", f"--dashboard-host={_HOST}"),
        *(f"--dashboard-port={dashboard_port}", f"--num-cpus={num_cpus}"),
        *(f"--object-store-memory={object_store_bytes}", f"--temp-dir={folder}"),
        *(f"--{name}=0" for name in self_chosen),
    ]


def _run(command: list[str], variables: dict[str, str], log: Path) -> None:
    """Runs `ray start` to its end. Raises ClusterError with the last line it wrote."""
    with log.open("wb") as output:
        # A session of its own: Ctrl-C in this terminal is not for the cluster.
        child = subprocess.Popen(
            command, env=variables, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        code = child.wait(_START_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise ClusterError(f"Ray did not start within {_START_LIMIT_S:.0f} s: {_last_line(log)}") from None
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
    if code != 0:
        raise ClusterError(f"Ray did not start: {_last_line(log)}")


def _dashboard_port(wanted: int | None) -> int:
    if wanted is not None:
        ports.check_port_free(_HOST, wanted, option="--dashboard-port")
        return wanted
    try:
        ports.check_port_free(_HOST, DASHBOARD_PORT)
    except ClusterError:
        return ports.free_port()
    return DASHBOARD_PORT


def _object_store_bytes() -> int:
    """An eighth of the memory, 256 MiB to 8 GiB: a limit, the pages are only taken when used."""
    return int(min(8192 * _MIB, max(256 * _MIB, psutil.virtual_memory().total // 8)))


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def _read(home: Home) -> LocalCluster | None:
    """None when there is no such file, or one that another Manta wrote."""
    try:
        return LocalCluster(**json.loads(home.cluster_file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _write(home: Home, cluster: LocalCluster) -> None:
    """Whole or not at all: a reader never sees half a file."""
    partial = home.cluster_file.with_suffix(".partial")
    partial.write_text(json.dumps(dataclasses.asdict(cluster), indent=2) + "\n", encoding="utf-8")
    partial.replace(home.cluster_file)


def _keep_logs(folder: Path, kept: Path) -> None:
    """The logs of the last cluster stay readable; the one before is dropped."""
    shutil.rmtree(kept, ignore_errors=True)
    kept.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError):
        shutil.move((folder / "session_latest").resolve(strict=True) / "logs", kept)
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _one_at_a_time(home: Home) -> Iterator[None]:
    """Two `manta up` at once start one cluster."""
    with (home.root / "cluster.lock").open("w") as lock:
        deadline = time.monotonic() + _START_LIMIT_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise ClusterError("another `manta up` for this home folder does not finish") from None
                time.sleep(0.1)
        yield
