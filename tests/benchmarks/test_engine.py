"""The engine benchmark's arithmetic."""

from __future__ import annotations

import pytest

from app.errors import BadInput
from benchmarks.engine import BATCHES, EngineBenchmark, Measured, Served, limit_of, report_of
from tests.benchmarks.example_report import REPORT


def served(requests: int, cpu_seconds: float) -> Served:
    return Served(requests=requests, cpu_seconds=cpu_seconds, p50_ms=1.0, p99_ms=2.0, resident_mb=50.0)


def test_the_limit_is_the_stages_share_of_the_cpu_time() -> None:
    stages = {"decode": 0.03, "preprocess": 0.01, "run": 0.05, "postprocess": 0.01}
    answer = {
        "stages": {name: {"mean_ms": mean} for name, mean in stages.items()},
        "call": {"mean_ms": 0.1},
        "cpu_us_per_image": 200.0,
    }
    assert limit_of(answer) == pytest.approx(180.0)


def test_ratios() -> None:
    measured = Measured(limit=[90.0], engine=[served(8000, 1.0)], starlette=[served(2000, 1.0)])
    for figures in (measured.library_wall, measured.library_cpu, measured.python_wall, measured.python_cpu):
        for size in BATCHES:
            figures[size].append(100.0)
    measured.python_cpu[1] = [150.0]
    ratios = {ratio.name: ratio for ratio in report_of(measured, REPORT.machine).ratios}
    assert ratios["server_vs_starlette_per_core"].figures.median == pytest.approx(4.0)
    assert ratios["server_vs_limit"].figures.median == pytest.approx(90.0 / 125.0)
    assert ratios["library_vs_python_onnxruntime"].figures.median == pytest.approx(1.5)
    assert all(ratio.met for ratio in ratios.values())


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"seconds": 0.0}, {"images": 31}])
def test_settings_are_checked(wrong: dict[str, int]) -> None:
    with pytest.raises(BadInput):
        EngineBenchmark(**wrong)  # type: ignore[arg-type]
