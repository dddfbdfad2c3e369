"""Manta as `manta serve` configures it, on a cluster that is started for the measurement."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence

import psutil

from app.artifact import Bundle
from app.cli.output import Output
from app.cli.session import session
from app.config import Home
from app.errors import ClusterError
from app.traffic_changes import added
from benchmarks.processes import memory, title
from benchmarks.serving_bundle import MODEL
from benchmarks.serving_peers.routes import JSON, OWN_ROUTES
from benchmarks.serving_peers.running import Running, wait_for_answer
from cluster.deployment import change, put_live, service_url
from cluster.ports import free_port
from cluster.processes import marked_processes
from cluster.serve_client import ServeClient, wait_until_answering
from cluster.serve_document import ROUTER, build_document, place

HOST = "127.0.0.1"
ONE_VERSION, TWO_VERSIONS = "Manta, one version", "Manta, two versions at 90/10"
CHALLENGER_PERCENT = 10.0
_CLASSIFIER = "ray::ServeReplica:classifier"


class MantaService:
    def __init__(self, client: ServeClient, home: Home, mark: str, body: bytes) -> None:
        self._client = client
        self._home = home
        self._mark = mark
        self._body = body
        self._port = free_port()
        self.url = service_url(HOST, self._port)

    def processes(self) -> list[psutil.Process]:
        """All of the cluster's: proxy, replicas, controller, and Ray itself."""
        return marked_processes(self._mark)

    def serve(self, bundles: Sequence[Bundle]) -> Running:
        """One version with all traffic, or two at 90 and 10 %. Its seconds are from the deployment on."""
        started = time.perf_counter()
        first, *others = bundles
        put_live(self._client, self._home, MODEL, version="1", bundle_uri=first.folder.as_uri(), port=self._port)
        for bundle in others:
            uri = bundle.folder.as_uri()
            change(
                self._client,
                self._home,
                lambda traffic, running, uri=uri: added(  # type: ignore[misc]
                    traffic, place(running, version="2", bundle_uri=uri), CHALLENGER_PERCENT
                ),
            )
        wait_for_answer(self.url, OWN_ROUTES[JSON], self._body)
        return Running(self.url, self.processes, time.perf_counter() - started)

    def stop_batching(self) -> None:
        """The same service with batches of one. Everything else stays as it is."""
        applications = self._client.state().declared
        router = applications[ROUTER]
        unbatched = {**router, "args": {**router["args"], "max_batch": 1}}
        document = build_document({**applications, ROUTER: unbatched}.values(), host=HOST, port=self._port)
        self._client.put(document)
        self._client.wait_until_running([ROUTER])
        if self._client.state().declared[ROUTER]["args"].get("max_batch") != 1:
            raise ClusterError("the router still batches")
        wait_until_answering(self.url)

    def classifier_bytes(self) -> int:
        """Resident memory of the largest classifier replica."""
        replicas = [process for process in self.processes() if title(process).startswith(_CLASSIFIER)]
        if not replicas:
            raise ClusterError("no process is called like a classifier's replica")
        return max(memory([replica]).resident for replica in replicas)


@contextlib.contextmanager
def manta_service(output: Output, body: bytes) -> Iterator[MantaService]:
    """A cluster without an application yet, for as long as the block runs. body: a JSON request."""
    with session(output) as started, contextlib.closing(ServeClient(started.connection.dashboard_url)) as client:
        if not started.started_here or started.connection.local is None:
            raise ClusterError("a cluster runs already; the benchmark needs one of its own")
        yield MantaService(client, started.home, started.connection.local.mark, body)
