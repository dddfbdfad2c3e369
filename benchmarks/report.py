"""What every benchmark leaves behind: a table for people, a JSON file for scripts."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.atomic_file import write_atomically
from benchmarks.figures import Figures, Ratio, Row
from benchmarks.machine import Machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    machine: Machine
    versions: Mapping[str, str]
    rows: Sequence[Row]
    ratios: Sequence[Ratio]

    def to_dict(self) -> dict[str, Any]:
        return {
            "machine": dataclasses.asdict(self.machine),
            "versions": dict(self.versions),
            "rows": [{"name": row.name, "unit": row.unit, **row.figures.to_dict()} for row in self.rows],
            "ratios": {
                ratio.name: {**ratio.figures.to_dict(), "bar": ratio.bar, "better": ratio.better, "met": ratio.met}
                for ratio in self.ratios
            },
        }

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(self.to_dict(), indent=2) + "\n")

    def __str__(self) -> str:
        rows = [(row.name, _number(row.figures.median), _spread(row.figures), row.unit) for row in self.rows]
        ratios = [
            (ratio.name, _number(ratio.figures.median), _spread(ratio.figures), _verdict(ratio))
            for ratio in self.ratios
        ]
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return "\n".join(
            [
                f"{self.machine}\n{versions}\n",
                aligned([("what", "median", "min..max (runs)", "unit"), *rows]),
                "",
                aligned([("ratio", "median", "min..max (runs)", "bar"), *ratios]),
            ]
        )


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; the second one is of numbers, aligned to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:{'>' if column == 1 else '<'}{widths[column]}}" for column, cell in enumerate(line)).rstrip()
        for line in lines
    )


def _number(value: float) -> str:
    """Three digits that matter."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"


def _spread(figures: Figures) -> str:
    return f"{_number(figures.low)}..{_number(figures.high)} ({figures.runs})"


def _verdict(ratio: Ratio) -> str:
    bar = f"{'at most' if ratio.better == 'lower' else 'at least'} {ratio.bar:g}"
    return f"{bar}: {'met' if ratio.met else 'NOT MET'}"
