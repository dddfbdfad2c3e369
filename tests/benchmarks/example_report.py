"""A report of a benchmark that was never run."""

from __future__ import annotations

from benchmarks.figures import Figures, Ratio, Row
from benchmarks.machine import Machine
from benchmarks.report import Report

REPORT = Report(
    machine=Machine(
        processor="Abacus", instructions=("beads",), cores=2, memory_gib=0.5, system="Linux x86_64", load=0.25
    ),
    versions={"python": "3.11.0"},
    rows=[Row("steady epoch", "s", Figures.of([2.0, 1.0, 4.0])), Row("throughput", "images/s", Figures.of([1234.5]))],
    ratios=[
        Ratio("time", Figures.of([1.2]), bar=1.05),
        Ratio("share", Figures.of([0.96, 0.97]), bar=0.95, better="higher"),
    ],
)
