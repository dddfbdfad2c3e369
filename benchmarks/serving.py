"""Manta against a plain server and other model servers, on the same graph and the same images.

    python -m benchmarks.serving --json serving.json

Serves two bundles of the default network (random weights: an answer costs the same) and sends them 32x32 JPEGs with
wrk. Each arrangement is started, checked, measured and ended by itself, once a round, in the other order every other
round; each ratio is taken within a round. Peers run in environments of their own, made on first use and kept.
`--seconds 1 --rounds 1 --peers starlette` takes about two minutes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.artifact import Bundle
from app.cli.output import Output
from app.cli.session import terminate_like_ctrl_c
from app.config import Home
from app.errors import BadInput, MantaError
from app.inference import OnnxClassifier
from app.load_test import synthetic_images
from app.options import run_job
from app.settings.checks import require
from benchmarks.home import own_home
from benchmarks.machine import Machine, versions
from benchmarks.processes import Memory, cpu_seconds, memory, only_on_core
from benchmarks.report import Report
from benchmarks.serving_bundle import SIDE, write_bundles
from benchmarks.serving_page import write_page
from benchmarks.serving_peers.check import check_answers
from benchmarks.serving_peers.environments import NotInstalled, installed_versions
from benchmarks.serving_peers.manta import ONE_VERSION, TWO_VERSIONS, manta_service
from benchmarks.serving_peers.peers import PEERS, Peer
from benchmarks.serving_peers.routes import BATCH, BATCH_SIZE, JSON, KINDS, OWN_ROUTES, Route
from benchmarks.serving_peers.running import Running
from benchmarks.serving_results import (
    CLASSIFIER,
    CLIENTS,
    CLUSTER_START,
    DEPLOY,
    IDLE,
    PROPORTIONAL,
    RESIDENT,
    START,
    UNBATCHED,
    Fact,
    ServingResults,
    ServingRun,
)
from benchmarks.wrk import RequestFiles, require_wrk, run_wrk

PACKAGES = ("ray", "onnxruntime", "opencv-python-headless", "numpy", "starlette", "uvicorn")
IMAGES = 64
BATCHES = 8
CHECKED = 4
"""Single images whose answers are compared with the graph's, before anything is measured."""
WARM_UP_CLIENTS = 8
IDLE_SECONDS = 2
MEGABYTE = 1e6


@dataclass(frozen=True, kw_only=True)
class ServingBenchmark:
    """What is measured."""

    seconds: int = 4
    """Of each run; there are 13 of each arrangement in a round."""
    rounds: int = 3
    """How often each arrangement is started and measured."""
    peers: str = ",".join(PEERS)
    """Of what Manta is compared with, with commas between; none leaves all out."""
    clients: str = "1,8,32,64"
    """How many send at the same time, with commas between."""
    cache: str | None = None
    """Folder of the peers' environments. Unless given, MANTA_HOME/benchmarks."""
    json: str | None = None
    """File for the results."""
    html: str | None = None
    """File for the page with plots. Unless given, beside the JSON file."""

    def __post_init__(self) -> None:
        require(self.seconds >= 1, "--seconds must be at least 1")
        require(self.rounds >= 1, "--rounds must be at least 1")
        unknown = [key for key in self.peer_keys if key not in PEERS]
        require(not unknown, f"--peers {', '.join(unknown)}: there are {', '.join(PEERS)}, or none")
        require(CLIENTS in self.client_counts, f"--clients must hold {CLIENTS}, which the ratios are of")

    @property
    def peer_keys(self) -> list[str]:
        return [] if self.peers == "none" else [key for key in self.peers.split(",") if key]

    @property
    def client_counts(self) -> list[int]:
        """Raises BadInput."""
        try:
            counts = [int(count) for count in self.clients.split(",")]
        except ValueError:
            raise BadInput(f"--clients {self.clients!r:.80} must be whole numbers with commas between") from None
        require(all(1 <= count <= 1024 for count in counts), "--clients takes numbers from 1 to 1024")
        return counts

    @property
    def page(self) -> Path | None:
        if self.html:
            return Path(self.html)
        return Path(self.json).with_suffix(".html") if self.json else None


def main(settings: ServingBenchmark) -> None:
    machine, output = Machine.here(), Output(as_json=False)
    wrk = require_wrk()
    cache = Path(settings.cache).expanduser() if settings.cache else Home.from_env().root / "benchmarks"
    with terminate_like_ctrl_c(), own_home() as folder:
        output.say("exporting two versions")
        images = [image.data for image in synthetic_images(SIDE, SIDE, IMAGES)]
        bundles = write_bundles(folder / "bundles", images)
        benchmark = Benchmark(settings, output, folder, images, bundles)
        pythons = benchmark.install(cache.absolute())
        for number in range(settings.rounds):
            benchmark.round(number, pythons)
    results = benchmark.results
    report = Report(
        machine=machine,
        versions={"wrk": wrk, **versions(PACKAGES), **_peer_versions(pythons)},
        rows=results.rows(),
        ratios=results.ratios(),
        missing=results.missing,
        summary=results.table(),
        printed_rows=results.fact_rows(),
    )
    print(f"\n{report}")
    if results.best_peer:
        print(f"\nbest peer: {results.best_peer}")
    if settings.json:
        report.write(Path(settings.json))
    if settings.page:
        write_page(results, report, settings.page)
        print(f"\npage: {settings.page}")


class Benchmark:
    """One after the other, everything that is measured of each arrangement."""

    def __init__(
        self,
        settings: ServingBenchmark,
        output: Output,
        folder: Path,
        images: Sequence[bytes],
        bundles: tuple[Bundle, Bundle],
    ) -> None:
        self._settings = settings
        self._output = output
        self._folder = folder
        self._images = images
        self._bundles = bundles
        self._reference = [OnnxClassifier(bundle.variant_path()) for bundle in bundles]
        self._cores = sorted(os.sched_getaffinity(0))
        self._body = OWN_ROUTES[JSON].encode(images[:1])
        self._files: dict[tuple[str, Route], RequestFiles] = {}
        self._peer_starts = 0
        self.results = ServingResults()

    def install(self, cache: Path) -> dict[str, Path]:
        """The Python of each peer that can be measured, by its key."""
        pythons = {}
        for key in self._settings.peer_keys:
            peer = PEERS[key]
            self._output.say(f"environment of {peer.name}")
            try:
                pythons[key] = peer.python(cache)
            except NotInstalled as error:
                self._leave_out(peer.name, error)
        return pythons

    def round(self, number: int, pythons: Mapping[str, Path]) -> None:
        self._output.say(f"round {number + 1} of {self._settings.rounds}")
        for key in ["manta", *pythons][:: -1 if number % 2 else 1]:
            if key == "manta":
                self._manta()
            elif PEERS[key].name not in self.results.missing:
                self._peer(PEERS[key], pythons[key])

    def _manta(self) -> None:
        started = time.perf_counter()
        with manta_service(self._output, self._body) as service:
            self._note(ONE_VERSION, CLUSTER_START, "s", time.perf_counter() - started)
            running = service.serve(self._bundles[:1])
            self._note(ONE_VERSION, DEPLOY, "s", running.start_seconds)
            self._measure(ONE_VERSION, OWN_ROUTES, running, self._reference[:1])
            self._note(ONE_VERSION, CLASSIFIER, "MB", service.classifier_bytes() / MEGABYTE)
            running = service.serve(self._bundles)
            self._note(TWO_VERSIONS, "adding the second version", "s", running.start_seconds)
            self._measure(TWO_VERSIONS, OWN_ROUTES, running, self._reference)
            service.serve(self._bundles[:1])
            service.stop_batching()
            self._warm_up(running.url, OWN_ROUTES[JSON])
            self._run(UNBATCHED, JSON, OWN_ROUTES[JSON], running, clients=1)

    def _peer(self, peer: Peer, python: Path) -> None:
        self._peer_starts += 1
        folder = self._folder / "servers" / str(self._peer_starts)
        folder.mkdir(parents=True)
        model = self._bundles[0].variant_path()
        body = peer.routes[JSON].encode(self._images[:1])
        try:
            with peer.running(python, model, folder, body) as running:
                self._note(peer.name, START, "s", running.start_seconds)
                self._measure(peer.name, peer.routes, running, self._reference[:1])
        except MantaError as error:
            self._leave_out(peer.name, error)

    def _measure(
        self, name: str, routes: Mapping[str, Route], running: Running, reference: Sequence[OnnxClassifier]
    ) -> None:
        """Raises NotStarted for answers that are not those of the graph."""
        self._output.say(f"  {name}")
        for kind, route in routes.items():
            asked = [self._images[:BATCH_SIZE]] if kind == BATCH else [[image] for image in self._images[:CHECKED]]
            for images in asked:
                check_answers(running.url, route, images, reference)
        self._warm_up(running.url, routes[JSON])
        self._note(name, IDLE, "% of a core", self._idle_share(running))
        for kind in KINDS:
            for clients in self._settings.client_counts:
                self._run(name, kind, routes[kind], running, clients=clients)
            if kind == JSON:
                self._note_memory(name, memory(running.processes()))
        if len(self._cores) < 2:
            self.results.missing["one core"] = "this machine has no other core for wrk"
            return
        with only_on_core(running.processes, self._cores[0]):
            self._run(name, JSON, routes[JSON], running, clients=CLIENTS, one_core=True)

    def _run(
        self, name: str, kind: str, route: Route, running: Running, *, clients: int, one_core: bool = False
    ) -> None:
        before = cpu_seconds(running.processes())
        load = run_wrk(
            running.url,
            self._requests(kind, route),
            clients=clients,
            seconds=self._settings.seconds,
            core=self._cores[1] if one_core else None,
        )
        spent = cpu_seconds(running.processes()) - before
        run = ServingRun(arrangement=name, kind=kind, clients=clients, load=load, cpu_seconds=spent, one_core=one_core)
        self.results.runs.append(run)
        errors = f", {load.failed} errors" if load.failed else ""
        self._output.say(
            f"    {kind}, {clients} clients{', one core' if one_core else ''}: {load.per_second:,.0f} requests/s, "
            f"p50 {load.p50_ms:.2f} ms, p99 {load.p99_ms:.2f} ms, CPU {run.cpu_ms:.2f} ms{errors}"
        )

    def _idle_share(self, running: Running) -> float:
        """Percent of a core that the server takes when nobody asks; it is part of the CPU of each request."""
        before, started = cpu_seconds(running.processes()), time.perf_counter()
        time.sleep(min(IDLE_SECONDS, self._settings.seconds))
        return 100 * (cpu_seconds(running.processes()) - before) / (time.perf_counter() - started)

    def _warm_up(self, url: str, route: Route) -> None:
        run_wrk(url, self._requests(JSON, route), clients=WARM_UP_CLIENTS, seconds=min(2, self._settings.seconds))

    def _requests(self, kind: str, route: Route) -> RequestFiles:
        if (kind, route) not in self._files:
            folder = self._folder / "requests" / str(len(self._files))
            bodies = list(_bodies(kind, route, self._images))
            self._files[kind, route] = RequestFiles.write(folder, route.path, route.content_type, bodies)
        return self._files[kind, route]

    def _note(self, name: str, what: str, unit: str, value: float) -> None:
        self.results.facts.append(Fact(arrangement=name, what=what, unit=unit, value=value))

    def _note_memory(self, name: str, used: Memory) -> None:
        self._note(name, PROPORTIONAL, "MB", used.proportional / MEGABYTE)
        self._note(name, RESIDENT, "MB", used.resident / MEGABYTE)

    def _leave_out(self, name: str, error: MantaError) -> None:
        """Also what was measured of it before: a round without it has nothing to be compared with."""
        self._output.say(f"  {name} is left out: {error}")
        self.results.leave_out(name, str(error))


def _bodies(kind: str, route: Route, images: Sequence[bytes]) -> Iterator[bytes]:
    if kind != BATCH:
        yield from (route.encode([image]) for image in images)
        return
    for number in range(BATCHES):
        yield route.encode([images[(number + index) % len(images)] for index in range(BATCH_SIZE)])


def _peer_versions(pythons: Mapping[str, Path]) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, python in pythons.items():
        if PEERS[key].requirements:
            found |= installed_versions(python, PEERS[key].packages)
    return found


if __name__ == "__main__":
    run_job(ServingBenchmark, main)
