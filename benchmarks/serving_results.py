"""What was measured of each arrangement, and the rows and ratios that come of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from benchmarks.figures import Figures, Ratio, Row, quotients
from benchmarks.report import aligned, number_text, spread_text
from benchmarks.serving_peers.manta import ONE_VERSION, TWO_VERSIONS
from benchmarks.serving_peers.peers import PEERS, STARLETTE
from benchmarks.serving_peers.routes import BATCH, BATCH_SIZE, JSON
from benchmarks.wrk import WrkResult

CLIENTS = 32
"""Of the ratios."""
FEW_CLIENTS = 8
LATENCY_LIMIT_MS = 50.0
"""For p99 of a few clients."""
CLASSIFIER_LIMIT_BYTES = 512e6
UNBATCHED = "Manta, one version, batches of one"
MODEL_SERVERS = tuple(peer.name for key, peer in PEERS.items() if key != "starlette")
"""Peers that do what Manta does; the plain server does less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingRun:
    arrangement: str
    kind: str
    """One of `routes.KINDS`."""
    clients: int
    load: WrkResult
    cpu_seconds: float
    """Of all processes of the server."""
    one_core: bool = False
    """The server had one core, and wrk another."""

    @property
    def images_per_second(self) -> float:
        return self.load.per_second * (BATCH_SIZE if self.kind == BATCH else 1)

    @property
    def cpu_ms(self) -> float:
        """A request."""
        return 1000 * self.cpu_seconds / max(self.load.answers, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Anything else that was measured once in a round."""

    arrangement: str
    what: str
    unit: str
    value: float


START = "start to first answer"
DEPLOY = "deployment to first answer"
CLUSTER_START = "start of the cluster"
IDLE = "CPU while nobody asks"
PROPORTIONAL, RESIDENT = "memory, shared pages counted once (PSS)", "memory, sum of RSS"
CLASSIFIER = "memory of a classifier replica (RSS)"

FIGURES: tuple[tuple[str, str, Callable[[ServingRun], float]], ...] = (
    ("requests/s", "1/s", lambda run: run.load.per_second),
    ("p50", "ms", lambda run: run.load.p50_ms),
    ("p95", "ms", lambda run: run.load.p95_ms),
    ("p99", "ms", lambda run: run.load.p99_ms),
    ("max", "ms", lambda run: run.load.max_ms),
    ("server CPU a request", "ms", lambda run: run.cpu_ms),
    ("errors", "", lambda run: run.load.failed),
)


@dataclass(slots=True)
class ServingResults:
    """In the order in which they were measured, one of each in a round."""

    runs: list[ServingRun] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    """What was not measured, and why."""

    def of(self, arrangement: str, kind: str, clients: int, *, one_core: bool = False) -> list[ServingRun]:
        wanted = (arrangement, kind, clients, one_core)
        return [run for run in self.runs if (run.arrangement, run.kind, run.clients, run.one_core) == wanted]

    def values(self, arrangement: str, what: str) -> list[float]:
        return [fact.value for fact in self.facts if (fact.arrangement, fact.what) == (arrangement, what)]

    def leave_out(self, arrangement: str, reason: str) -> None:
        self.runs = [run for run in self.runs if run.arrangement != arrangement]
        self.facts = [fact for fact in self.facts if fact.arrangement != arrangement]
        self.missing[arrangement] = reason

    @property
    def arrangements(self) -> list[str]:
        return list(dict.fromkeys(run.arrangement for run in self.runs))

    @property
    def best_peer(self) -> str | None:
        """The model server with the most requests/s, JSON at CLIENTS clients; None when none was measured."""
        rates = {name: self._rates(name) for name in MODEL_SERVERS if self.of(name, JSON, CLIENTS)}
        return max(rates, key=lambda name: Figures.of(rates[name]).median) if rates else None

    def rows(self) -> list[Row]:
        rows = [
            Row(f"{what}: {_load_text(runs[0])}", unit, Figures.of([value(run) for run in runs]))
            for runs in _grouped(self.runs)
            for what, unit, value in FIGURES
        ]
        return rows + self.fact_rows()

    def fact_rows(self) -> list[Row]:
        names = dict.fromkeys((fact.arrangement, fact.what, fact.unit) for fact in self.facts)
        return [
            Row(f"{what}: {arrangement}", unit, Figures.of(self.values(arrangement, what)))
            for arrangement, what, unit in names
        ]

    def table(self) -> str:
        """Medians, a line for each arrangement and load, those of a load together."""
        head = ("load", "req/s", "min..max (runs)", "images/s", "p50 ms", "p95 ms", "p99 ms", "CPU ms", "errors")
        lines: list[Sequence[str]] = [head]
        for runs in sorted(_grouped(self.runs), key=_place):
            rate = Figures.of([run.load.per_second for run in runs])
            lines.append(
                (
                    _load_text(runs[0]),
                    number_text(rate.median),
                    spread_text(rate),
                    _median_text(runs, lambda run: run.images_per_second),
                    *(_median_text(runs, value) for _, _, value in (FIGURES[1], FIGURES[2], FIGURES[3], FIGURES[5])),
                    errors_text(runs),
                )
            )
        return aligned(lines)

    def ratios(self) -> list[Ratio]:
        """Those whose both sides were measured."""
        ratios = []
        if (peer := self.best_peer) is not None:
            best, one, two = (self._rates(name) for name in (peer, ONE_VERSION, TWO_VERSIONS))
            ratios += [
                Ratio("one_version_vs_best_peer", quotients(one, best), bar=1.6, better="higher"),
                Ratio("two_versions_vs_best_peer", quotients(two, best), bar=1.3, better="higher"),
                Ratio("p99_vs_best_peer", quotients(self._p99(ONE_VERSION), self._p99(peer)), bar=1.0),
            ]
        if self.of(STARLETTE, JSON, CLIENTS):
            plain = quotients(self._rates(ONE_VERSION), self._rates(STARLETTE))
            ratios.append(Ratio("one_version_vs_starlette", plain, bar=0.4, better="higher"))
        lone, unbatched = self.of(ONE_VERSION, JSON, 1), self.of(UNBATCHED, JSON, 1)
        if lone and unbatched:
            p50 = quotients([run.load.p50_ms for run in lone], [run.load.p50_ms for run in unbatched])
            ratios.append(Ratio("lone_request_vs_unbatched", p50, bar=1.3))
        if few := self.of(ONE_VERSION, JSON, FEW_CLIENTS):
            limit = Figures.of([run.load.p99_ms / LATENCY_LIMIT_MS for run in few])
            ratios.append(Ratio("p99_at_8_clients_vs_50_ms", limit, bar=1.0))
        if replica := self.values(ONE_VERSION, CLASSIFIER):
            used = Figures.of([1e6 * megabytes / CLASSIFIER_LIMIT_BYTES for megabytes in replica])
            ratios.append(Ratio("classifier_memory_vs_512_mb", used, bar=1.0))
        return ratios

    def _rates(self, arrangement: str) -> list[float]:
        return [run.load.per_second for run in self.of(arrangement, JSON, CLIENTS)]

    def _p99(self, arrangement: str) -> list[float]:
        return [run.load.p99_ms for run in self.of(arrangement, JSON, CLIENTS)]


def errors_text(runs: Iterable[ServingRun]) -> str:
    """Summed over the runs, by kind."""
    totals: dict[str, int] = {}
    for run in runs:
        for kind, count in run.load.errors.items():
            totals[kind] = totals.get(kind, 0) + count
    return ", ".join(f"{kind} {count:,}" for kind, count in totals.items()) or "0"


def _grouped(runs: Iterable[ServingRun]) -> list[list[ServingRun]]:
    groups: dict[tuple[str, str, int, bool], list[ServingRun]] = {}
    for run in runs:
        groups.setdefault((run.arrangement, run.kind, run.clients, run.one_core), []).append(run)
    return list(groups.values())


def _place(runs: Sequence[ServingRun]) -> tuple[bool, str, int]:
    """By kind, then clients; the order of measuring stays within. Runs on one core come last."""
    return runs[0].one_core, runs[0].kind, runs[0].clients


def _load_text(run: ServingRun) -> str:
    clients = f"{run.clients} client{'s' if run.clients > 1 else ''}"
    return f"{run.kind}, {clients}{', one core' if run.one_core else ''}: {run.arrangement}"


def _median_text(runs: Sequence[ServingRun], value: Callable[[ServingRun], float]) -> str:
    return number_text(Figures.of([value(run) for run in runs]).median)
