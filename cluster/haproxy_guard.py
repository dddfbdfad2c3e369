"""Runs HAProxy for Serve so that its port is listened on, whatever is killed. Nothing but the standard library.

    haproxy_guard.py HAPROXY_BINARY ARGUMENTS...       what `RAY_SERVE_HAPROXY_BINARY_PATH` runs

Ray 2.60 alone leaves gaps. When HAProxy dies, nobody listens until Serve has missed three health checks of its proxy
and started another. When Serve's proxy actor dies, or Serve gives it up, its HAProxy is killed with it; and the next
one listens before it knows of any application, so that it answers 404.

So this process, before it becomes HAProxy, leaves the group of processes that ends with the actor, and starts a
watcher: where HAProxy ends, nobody listens, and there is somebody to send requests to, the watcher runs one with the
same configuration. Where such a stand-in still runs, or a former actor's HAProxy, the next actor's listens nowhere
until it is told of an application; then it takes over their sockets, and they end when they have answered.

All that holds for one address. Where Serve was shut down and started anew on another, what is left of the former
service ends at once: its routers' ports, and HAProxy's own pages, belong to others now.

Those two pages, of metrics and statistics, ask nobody for a password and have no setting for the address in Ray: here
they are put on loopback.
"""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

UNREACHED_S = 5.0
"""A HAProxy that no actor looks after ends when for so long there was no server that it could send requests to."""
_LOOK_S = 0.1
_UNKNOWN = "unknown"
_STAND_IN, WAITING, _LEFT = ".sub", ".new", ".old"
"""End the names of files: of a stand-in, of one that waits for an application, and of what a former one left. Short,
because the path of a socket ends at 107 bytes, of which HAProxy takes a dozen more while it starts."""
_SOCKET = re.compile(r"^(\s*stats socket )(\S+)", re.MULTILINE)
_BIND = re.compile(r"^(\s*bind )\S*:(\d+)", re.MULTILINE)
_ROUTE = re.compile(r"^\s*use_backend ", re.MULTILINE)
_SERVER = re.compile(r"^\s*server \S+ (\S+):(\d+)", re.MULTILINE)
_PAGE = re.compile(r"^((?:frontend prometheus|listen stats)\s+bind )\S*:(\d+)", re.MULTILINE)
_TAKES = re.compile(r"^frontend http_frontend\s+bind .*\n", re.MULTILINE)
_NO_ODD_ID = """\
    http-request del-header x-request-id if !{ req.fhdr(x-request-id,1) -m reg '^[A-Za-z0-9._:/+=-]{1,128}$' }
"""
"""The same ids as in `serve_deployments/request_headers.py`."""
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
    text = _PAGE.sub(r"\g<1>127.0.0.1:\2", config.read_text(encoding="utf-8"))
    text = _TAKES.sub(lambda found: found[0] + _NO_ODD_ID, text) if _NO_ODD_ID not in text else text
    config.write_text(text, encoding="utf-8")
    running, address = _haproxies(config), _address(text)
    _end_all([each for each in running if each.address != address])
    left = [str(each.pid) for each in running if each.address == address and each.parent != actor]
    ends = os.pidfd_open(own), os.pidfd_open(actor)  # each can be read once its process has ended
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:  # nobody's child: HAProxy would not know what to do with one
            watch(haproxy, config, text, *ends)
        os._exit(0)
    os.wait()
    os.setsid()
    os.execv(haproxy, [haproxy, *_named(text), *_arguments(config, text, left, arguments)])


def watch(haproxy: str, config: Path, text: str, haproxy_end: int, actor_end: int) -> None:
    """Stands in for a HAProxy that has ended, if it has to. text: its configuration. The ends are pidfds."""
    _look_after(haproxy_end, actor_end, config, text)
    while not _is_listened_on(text) and _is_of_use(config, text):
        stand_in = Path(str(config) + _STAND_IN)
        # It has an administration socket of its own: Serve has to see that its own HAProxy is gone.
        stand_in.write_text(_SOCKET.sub(rf"\1\2{_STAND_IN}", text), encoding="utf-8")
        process = subprocess.Popen([haproxy, *_named(text), "-db", "-dR", "-f", str(stand_in)])
        _look_after(os.pidfd_open(process.pid), actor_end, config, text)
        process.wait()


def _look_after(end: int, actor_end: int, config: Path, text: str) -> None:
    """Returns when that HAProxy has ended, which it has to when there is no actor and nothing to do any more."""
    useless_s = 0.0
    while not _ended(end, _LOOK_S):
        if not _ended(actor_end, 0):
            continue
        useless_s = 0.0 if _is_of_use(config, text) else useless_s + _LOOK_S
        if useless_s > UNREACHED_S:
            signal.pidfd_send_signal(end, signal.SIGKILL)


def _arguments(config: Path, text: str, left: Sequence[str], given: Sequence[str]) -> list[str]:
    """Those that HAProxy gets: others than Serve's where HAProxies are `left` that its actor does not know."""
    if not left:
        return list(given)
    path = _socket_of(text)
    if not _ROUTE.search(text):
        _keep(path)
        waiting = Path(str(config) + WAITING)
        waiting.write_text(_BIND.sub(rf"\1abns@manta-{os.getpid()}-\2", text), encoding="utf-8")
        return [str(waiting) if word == str(config) else word for word in given]
    arguments = list(given)
    if "-x" in arguments:  # the socket of one that waits, which listens nowhere
        del arguments[(place := arguments.index("-x")) : place + 2]
    if Path(path + _LEFT).exists():  # with the others it hands over this socket too, which belongs under its own name
        Path(path + _LEFT).replace(path)
    open_ones = [each for each in (path + _STAND_IN, path) if _connects(socket.AF_UNIX, each)]
    return [*arguments, "-sf", *left, *(["-x", open_ones[0]] if open_ones else [])]


def _keep(path: str) -> None:
    """The administration socket stays within reach under another name, when the next HAProxy puts its own there."""
    Path(path + _LEFT).unlink(missing_ok=True)
    if Path(path).exists():
        os.link(path, path + _LEFT)


class _Process(NamedTuple):
    pid: int
    parent: int
    address: str
    """Where it takes requests, as its command line names it."""


def _haproxies(config: Path) -> list[_Process]:
    """Each that runs with this configuration, or stands in for one that did."""
    found = []
    files = {str(config), str(config) + _STAND_IN, str(config) + WAITING}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode().split("\0")
            if Path(words[0]).name != "haproxy" or not files & set(words):
                continue
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            found.append(_Process(int(folder.name), parent, words[2]))
        except (OSError, ValueError):
            continue  # it has just ended
    return [each for each in found if each.pid != os.getpid()]


def _end_all(proxies: Sequence[_Process]) -> None:
    for each in proxies:
        try:
            end = os.pidfd_open(each.pid)
            signal.pidfd_send_signal(end, signal.SIGKILL)
        except ProcessLookupError:
            continue
        _ended(end, 1.0)
        os.close(end)


def _named(text: str) -> list[str]:
    """The first arguments of each HAProxy: its name among others, which it does not use, says where it listens."""
    return ["-L", _address(text)]


def _address(text: str) -> str:
    found = _FRONTEND.search(text)
    return f"{found[1]}:{found[2]}" if found else _UNKNOWN


def _socket_of(text: str) -> str:
    found = _SOCKET.search(text)
    return found[2] if found else ""


def _is_listened_on(text: str) -> bool:
    """Whether anybody takes connections where this configuration does."""
    found = _FRONTEND.search(text)
    if found is None:
        return True  # a configuration of another Ray, in which nothing can be said
    return _reaches("127.0.0.1" if found[1] in ("", "*", "0.0.0.0") else found[1], int(found[2]))


def _is_of_use(config: Path, text: str) -> bool:
    """Whether any server of this configuration takes connections, which none does when Serve was stopped.

    Once Serve has been started on another address it is of no use either, whoever has the servers' ports by then.
    """
    try:
        current = _address(config.read_text(encoding="utf-8"))
    except OSError:
        return False  # the cluster has ended, and its folder with it
    if current not in (_address(text), _UNKNOWN):  # unknown while Ray writes it
        return False
    return any(_reaches(host, int(port)) for host, port in _SERVER.findall(text))


def _reaches(host: str, port: int) -> bool:
    host = host.strip("[]")
    return _connects(socket.AF_INET6 if ":" in host else socket.AF_INET, (host, port))


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
