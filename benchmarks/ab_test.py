"""The A/B test by simulation: false positives when it is looked at all the time, and how much feedback it needs.

    python -m benchmarks.ab_test --json ab_test.json

Compared with a z-test that looks once, after as many answers as give it a power of 80 %; with the same z-test looked at
all the time, which is not valid; and with other tests that are (`benchmarks/sequential_tests.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.ab_test import compare
from app.feedback import Feedback
from app.options import run_job
from app.settings.checks import require
from benchmarks.feedback_streams import Scenario, Streams, chunks
from benchmarks.figures import Figures, Ratio, Row
from benchmarks.machine import Machine, versions
from benchmarks.report import Report
from benchmarks.sequential_tests import (
    e_process,
    fixed_horizon,
    peeking_z_test,
    safe_test,
    two_intervals,
    uniform_mixture,
)

TIMED = 200
"""Comparisons whose time is measured."""
ALPHA = 0.05
POWER = 0.8
EQUAL = [Scenario(champion=p, challenger=p, share=share) for p in (0.6, 0.9, 0.99) for share in (0.5, 0.1)]
DIFFERENT = [
    Scenario(champion=p, challenger=q, share=share)
    for p, q in ((0.88, 0.92), (0.9, 0.91), (0.99, 0.98), (0.6, 0.65), (0.9, 0.5))
    for share in (0.5, 0.1)
]
LOOKS, HORIZONS = 200, 5
"""Of a test for power, and how many times the fixed test's answers it may take."""
OTHERS: dict[str, Callable[[Streams, float], np.ndarray]] = {
    "uniform mixture": uniform_mixture,
    "two intervals": two_intervals,
}


@dataclass(frozen=True, kw_only=True)
class AbTestBenchmark:
    """What is simulated."""

    tests: int = 2000
    """Simulated tests for each row of false positives; half as many for each of power."""
    answers: int = 3000
    """Answers of each test for false positives, with a look after each of them."""
    json: str | None = None
    """File for the results."""

    def __post_init__(self) -> None:
        require(self.tests >= 2 and self.answers >= 1, "--tests must be at least 2 and --answers at least 1")


def main(settings: AbTestBenchmark) -> None:
    machine = Machine.here()
    false, invalid = (
        {scenario: false_positives(test, scenario, settings) for scenario in EQUAL}
        for test in (e_process, peeking_z_test)
    )
    rows = [
        Row(f"false positives: {name}, {scenario}", "share", Figures.of([share]))
        for name, shares in (("ours", false), ("peeking z-test", invalid))
        for scenario, share in shares.items()
    ]
    ratios = [Ratio("false positives, the most of all", Figures.of([max(false.values())]), bar=ALPHA)]
    for scenario in DIFFERENT:
        fixed = fixed_horizon(scenario, ALPHA, POWER)
        needed = answers_needed(scenario, fixed, settings.tests // 2)
        rows.append(Row(f"answers: fixed z-test, {scenario}", "answers", Figures.of([fixed])))
        rows += [Row(f"answers: {name}, {scenario}", "answers", Figures.of(each)) for name, each in needed.items()]
        share = Figures.of([answers / fixed for answers in needed["ours"]])
        ratios.append(Ratio(f"answers against the fixed z-test, {scenario}", share, bar=2.0))
    rows.append(Row("compare(), three challengers", "ms", Figures.of(milliseconds())))
    report = Report(machine=machine, versions=versions(("numpy",)), rows=rows, ratios=ratios)
    print(report)
    if settings.json:
        report.write(Path(settings.json))


def false_positives(
    test: Callable[[Streams, float], np.ndarray], scenario: Scenario, settings: AbTestBenchmark
) -> float:
    """Share of the tests that ever reject."""
    parts = chunks(0, scenario, tests=settings.tests, looks=settings.answers, step=1)
    return float(np.concatenate([test(part, ALPHA) >= 0 for part in parts]).mean())


def answers_needed(scenario: Scenario, fixed: int, tests: int) -> dict[str, list[float]]:
    """By test: answers of both arms until it rejects; where it has not by the end, HORIZONS times `fixed`."""
    step = max(1, HORIZONS * fixed // LOOKS)
    last = float(step * LOOKS)
    parts = list(chunks(1, scenario, tests=tests, looks=LOOKS, step=step))
    needed = {}
    for name, test in {"ours": e_process, **OTHERS}.items():
        first = np.concatenate([test(part, ALPHA) for part in parts])
        needed[name] = np.where(first >= 0, (first + 1.0) * step, last).tolist()
    blocks, rng = int(last * scenario.share), np.random.default_rng(2)
    size = max(1, 2_000_000 // blocks)
    parts_of = [min(size, tests - start) for start in range(0, tests, size)]
    first = np.concatenate([safe_test(rng, scenario, tests=part, blocks=blocks, alpha=ALPHA) for part in parts_of])
    return {**needed, "safe test in blocks": np.where(first >= 0, first, last).tolist()}


def milliseconds() -> list[float]:
    """Of `compare` with three challengers, from test to test another number of answers."""
    taken = []
    for count in range(TIMED):
        arms = {f"v{index}": Feedback(1000 + count + index, 900 + count) for index in range(3)}
        began = time.perf_counter()
        compare(("champion", Feedback(9000 + 10 * count, 8100)), arms)
        taken.append(1000 * (time.perf_counter() - began))
    return taken


if __name__ == "__main__":
    run_job(AbTestBenchmark, main)
