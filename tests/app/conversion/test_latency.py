"""Latency of graphs, alone and in turns."""

from __future__ import annotations

import numpy as np
import pytest

from app.conversion import latency
from app.conversion.latency import interleaved_seconds, latency_ms
from app.evaluate import Predict

IMAGES = np.zeros((3, 2, 2, 3), np.uint8)


def test_a_graph_alone_gets_the_batches_asked_for_after_a_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "ALONE_SECONDS", 0.0)
    sizes: list[int] = []

    def predict(batch: np.ndarray) -> np.ndarray:
        sizes.append(len(batch))
        return batch

    measured = latency_ms(predict, IMAGES, [8, 1])
    assert list(measured) == ["8", "1"]
    assert all(0 < each < 1000 for each in measured.values())
    assert sizes == [8] * 6 + [1] * 6


def test_every_graph_runs_once_a_round_and_none_always_follows_the_same_other_one() -> None:
    calls = ""

    def graph(name: str) -> Predict:
        def predict(batch: np.ndarray) -> np.ndarray:
            nonlocal calls
            calls += name
            return batch

        return predict

    times = interleaved_seconds({name: graph(name) for name in "abc"}, IMAGES, 1, seconds=0, rounds=4)
    assert calls == "abc" + "abc" + "bca" + "cab" + "abc"
    assert {name: len(each) for name, each in times.items()} == {"a": 4, "b": 4, "c": 4}
