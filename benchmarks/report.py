"""What every benchmark leaves behind: a table for people, a JSON file for scripts."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
    missing: Mapping[str, str] = field(default_factory=dict)
    """What could not be measured, and why."""
    summary: str = ""
    """A table that is printed instead of most rows, where there are too many to read."""
    printed_rows: Sequence[Row] | None = None
    """Those that are printed all the same; None: all."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "machine": dataclasses.asdict(self.machine),
            "versions": dict(self.versions),
            "rows": [{"name": row.name, "unit": row.unit, **row.figures.to_dict()} for row in self.rows],
            "ratios": {
                ratio.name: {**ratio.figures.to_dict(), "bar": ratio.bar, "better": ratio.better, "met": ratio.met}
                for ratio in self.ratios
            },
            **({"missing": dict(self.missing)} if self.missing else {}),
        }

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(self.to_dict(), indent=2) + "\n")

    @property
    def heading(self) -> str:
        """The machine, and the versions of what was measured."""
        return f"{self.machine}\n{', '.join(f'{name} {version}' for name, version in self.versions.items())}"

    @property
    def ratio_cells(self) -> list[tuple[str, str, str, str]]:
        return [
            (ratio.name, number_text(ratio.figures.median), spread_text(ratio.figures), _verdict(ratio))
            for ratio in self.ratios
        ]

    def __str__(self) -> str:
        rows = self.rows if self.printed_rows is None else self.printed_rows
        cells = [(row.name, number_text(row.figures.median), spread_text(row.figures), row.unit) for row in rows]
        parts = [
            self.heading,
            self.summary,
            aligned([("what", "median", "min..max (runs)", "unit"), *cells]) if cells else "",
            aligned([("ratio", "median", "min..max (runs)", "bar"), *self.ratio_cells]),
            "\n".join(f"not measured: {what}: {reason}" for what, reason in self.missing.items()),
        ]
        return "\n\n".join(part for part in parts if part)


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; the second one is of numbers, aligned to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:{'>' if column == 1 else '<'}{widths[column]}}" for column, cell in enumerate(line)).rstrip()
        for line in lines
    )


def number_text(value: float) -> str:
    """Three digits that matter."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"


def spread_text(figures: Figures) -> str:
    return f"{number_text(figures.low)}..{number_text(figures.high)} ({figures.runs})"


def _verdict(ratio: Ratio) -> str:
    bar = f"{'at most' if ratio.better == 'lower' else 'at least'} {ratio.bar:g}"
    return f"{bar}: {'met' if ratio.met else 'NOT MET'}"
