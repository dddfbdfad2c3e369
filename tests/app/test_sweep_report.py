"""The order of trials in a report, and its plot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import pytest

from app.sweep_report import SweepReport, TrialRow, draw_report, ranked


def row(name: str, accuracy: float | None, **settings: Any) -> TrialRow:
    if accuracy is None:
        return TrialRow(trial=name, settings=settings, status="failed", reason="it diverged")
    return TrialRow(
        trial=name,
        settings=settings,
        status="finished",
        epochs=3,
        val_accuracy=accuracy,
        score=accuracy - 1e-7,
        parameters=50_000,
        latency_ms=0.05,
        seconds=2.0,
    )


def test_the_best_comes_first_and_failed_ones_last() -> None:
    rows = ranked([row("a", 0.5), row("b", None), row("c", 0.9), row("d", 0.0)])
    assert [each.trial for each in rows] == ["c", "a", "d", "b"]


def test_what_scripts_get() -> None:
    report = SweepReport(name="s", data="digits", rows=ranked([row("a", 0.5, lr=0.1), row("b", None, lr=9.0)]))
    assert report.best.trial == "a"
    assert report.to_json()["trials"][1] == {
        "trial": "b",
        "settings": {"lr": 9.0},
        "status": "failed",
        "reason": "it diverged",
        "epochs": 0,
        "val_accuracy": None,
        "score": None,
        "parameters": None,
        "latency_ms": None,
        "seconds": None,
    }


@pytest.mark.parametrize(
    "rows",
    [
        [row("a", 0.5, lr=0.1)],
        [row("a", 0.5, lr=0.1, model="mobile", flip=True), row("b", 0.7, lr=1e-4, model="custom_cnn", flip=False)],
        [row("a", 0.5, **{f"s{n}": n for n in range(9)}), row("b", None, **{f"s{n}": n for n in range(9)})],
        [row("a", 0.5, batch_size="auto"), row("b", 0.6, batch_size=64)],
    ],
    ids=["one trial", "kinds of settings", "many settings", "mixed values"],
)
def test_a_plot_for_every_sweep(rows: list[TrialRow], tmp_path: Path) -> None:
    draw_report(SweepReport(name="s", data="digits", rows=ranked(rows)), tmp_path / "report.png")
    image = cv2.imread(str(tmp_path / "report.png"))
    assert image is not None
    assert image.std() > 5, "something is drawn"
