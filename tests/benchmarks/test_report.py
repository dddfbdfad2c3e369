"""The table and the JSON file of a benchmark."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.machine import Machine, versions
from benchmarks.report import aligned
from tests.benchmarks.example_report import REPORT


def test_the_table() -> None:
    assert str(REPORT).splitlines() == [
        "Abacus (beads), 2 cores, 0.5 GiB, Linux x86_64; load before: 0.25",
        "python 3.11.0",
        "",
        "what          median  min..max (runs)   unit",
        "steady epoch       2  1..4 (3)          s",
        "throughput     1,234  1,234..1,234 (1)  images/s",
        "",
        "ratio  median  min..max (runs)  bar",
        "time      1.2  1.2..1.2 (1)     at most 1.05: NOT MET",
        "share   0.965  0.96..0.97 (2)   at least 0.95: met",
    ]


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert aligned([("a", "1", "x"), ("long", "100", "y")]) == "a       1  x\nlong  100  y"


def test_the_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "result.json"
    REPORT.write(path)
    content = json.loads(path.read_text())
    assert list(content) == ["machine", "versions", "rows", "ratios"]
    assert content["machine"]["cores"] == 2
    assert content["rows"][0] == {"name": "steady epoch", "unit": "s", "median": 2, "min": 1, "max": 4, "runs": 3}
    assert content["ratios"]["time"]["median"] == 1.2
    assert content["ratios"]["time"]["met"] is False
    assert content["ratios"]["share"]["met"] is True


def test_this_machine() -> None:
    machine = Machine.here()
    assert machine.cores >= 1
    assert machine.memory_gib > 0
    assert machine.processor
    assert set(versions(["numpy"])) == {"python", "numpy"}
