"""Runs HAProxy for Serve so that its port is listened on, whatever is killed. Nothing but the standard library.

    haproxy_guard.py HAPROXY_BINARY ARGUMENTS...       what `RAY_SERVE_HAPROXY_BINARY_PATH` runs

Ray 2.60 alone leaves two gaps. When HAProxy dies, nobody listens until Serve has missed three health checks of its
proxy and started another. When Serve's proxy actor dies, its HAProxy lives on with the replicas that it knew, and holds
the port, so that the next actor's cannot start.

So before this process becomes HAProxy it starts a watcher: where HAProxy ends and nobody listens while the actor lives,
the watcher runs one with the same configuration until Serve's own is back. And HAProxy is told of those that an actor
which is gone left behind: it takes over their sockets, and they end when they have answered.
"""

from __future__ import annotations

import os
import re
import select
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PATIENCE_S = 0.3
"""After HAProxy's end: an actor that is stopped kills its HAProxy, and is then gone itself."""
SUCCESSOR_S = 30.0
"""How long a stand-in waits, after the actor's end, for the HAProxy of the next one."""
_LOOK_S = 0.1
_STAND_IN = ".stand-in"
"""Ends the names of its files."""
_SOCKET = re.compile(r"^(\s*stats socket )(\S+)", re.MULTILINE)
_FRONTEND = re.compile(r"^frontend http_frontend\s+bind (\S*):(\d+)", re.MULTILINE)


def write_command(folder: Path, haproxy: str) -> Path:
    """An executable file in `folder` that runs this module with that binary."""
    command = folder / "haproxy"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "{__file__}" "{haproxy}" "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    return command


def main(haproxy: str, arguments: Sequence[str]) -> None:
    """Becomes HAProxy. Its process id stays this one's, by which Serve knows it."""
    config, own, actor = Path(arguments[arguments.index("-f") + 1]), os.getpid(), os.getppid()
    ends = os.pidfd_open(own), os.pidfd_open(actor)  # each can be read once its process has ended
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:  # nobody's child: HAProxy would not know what to do with one
            watch(haproxy, config, *ends)
        os._exit(0)
    os.wait()
    os.execv(haproxy, [haproxy, *arguments, *_taking_over(config, actor, arguments)])


def watch(haproxy: str, config: Path, haproxy_end: int, actor_end: int) -> None:
    """Stands in for a HAProxy that has ended, if it has to. The ends are pidfds."""
    _ended(haproxy_end, None)
    while not _ended(actor_end, PATIENCE_S) and not _is_listened_on(config):
        _outlive(subprocess.Popen([haproxy, "-db", "-dR", "-f", str(_stand_in_config(config))]), actor_end)


def _outlive(stand_in: subprocess.Popen[bytes], actor_end: int) -> None:
    """Returns when the stand-in has ended. It does when another takes over, and has to when no other comes."""
    while stand_in.poll() is None:
        if _ended(actor_end, _LOOK_S):
            try:
                stand_in.wait(SUCCESSOR_S)
            except subprocess.TimeoutExpired:
                stand_in.kill()
                stand_in.wait()


def _taking_over(config: Path, actor: int, arguments: Sequence[str]) -> list[str]:
    """Arguments more, where HAProxies run that this one's actor does not know."""
    left = [pid for pid, parent in _haproxies(config) if parent != actor]
    if not left:
        return []
    over = ["-sf", *map(str, left)]
    if "-x" not in arguments:
        for path in (_socket_of(config), _socket_of(config) + _STAND_IN):
            if _connects(socket.AF_UNIX, path):
                return [*over, "-x", path]
    return over


def _haproxies(config: Path) -> list[tuple[int, int]]:
    """Process id and parent of each that runs with this configuration, or stands in for one that did."""
    found = []
    files = {str(config), str(config) + _STAND_IN}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode().split("\0")
            if Path(words[0]).name != "haproxy" or not files & set(words):
                continue
            found.append((int(folder.name), int((folder / "stat").read_text().rpartition(")")[2].split()[1])))
        except (OSError, ValueError):
            continue  # it has just ended
    return [(pid, parent) for pid, parent in found if pid != os.getpid()]


def _stand_in_config(config: Path) -> Path:
    """The same, with an administration socket of its own: Serve has to see that its own HAProxy is gone."""
    target = Path(str(config) + _STAND_IN)
    target.write_text(_SOCKET.sub(rf"\1\2{_STAND_IN}", config.read_text(encoding="utf-8")), encoding="utf-8")
    return target


def _socket_of(config: Path) -> str:
    found = _SOCKET.search(config.read_text(encoding="utf-8"))
    return found[2] if found else ""


def _is_listened_on(config: Path) -> bool:
    """Whether anybody takes connections where this configuration does."""
    found = _FRONTEND.search(config.read_text(encoding="utf-8"))
    if found is None:
        return True  # a configuration of another Ray, in which nothing can be said
    host = "127.0.0.1" if found[1] in ("", "*", "0.0.0.0") else found[1].strip("[]")
    return _connects(socket.AF_INET6 if ":" in host else socket.AF_INET, (host, int(found[2])))


def _connects(family: socket.AddressFamily, address: str | tuple[str, int]) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(address)
        except OSError:
            return False
    return True


def _ended(end: int, wait_s: float | None) -> bool:
    """Whether it has, after waiting for so long at most; None: for ever."""
    return bool(select.select([end], [], [], wait_s)[0])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
