"""Latency of several graphs, measured in turns: other work on the machine slows all of them down alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence

import numpy as np

from app.evaluate import Predict, batch_of, batch_size_of

BATCH_SIZES = (1, 8, 32, 64)
SECONDS = 1.5
"""For each batch size, all graphs together."""
ALONE_SECONDS = 0.3
"""For each batch size of a graph that is measured by itself."""
ROUNDS = 5
"""At least; a round runs every graph once."""


def interleaved_latency_ms(
    graphs: Mapping[str, Predict],
    images: np.ndarray,
    *,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    seconds: float = SECONDS,
) -> dict[str, dict[str, float]]:
    """{graph: {batch size: median milliseconds of one run}}; images: uint8 [N, H, W, 3].

    Without the sizes that are more than memory should hold of images as large as these.
    """
    found: dict[str, dict[str, float]] = {name: {} for name in graphs}
    largest = batch_size_of(images)
    for size in (size for size in batch_sizes if size <= largest):
        for name, times in interleaved_seconds(graphs, images, size, seconds=seconds).items():
            found[name][str(size)] = 1000 * statistics.median(times)
    return found


def latency_ms(predict: Predict, images: np.ndarray, batch_sizes: Sequence[int]) -> dict[str, float]:
    """{batch size: median milliseconds of one run} of a graph by itself."""
    return interleaved_latency_ms({"": predict}, images, batch_sizes=batch_sizes, seconds=ALONE_SECONDS)[""]


def interleaved_seconds(
    graphs: Mapping[str, Predict], images: np.ndarray, batch_size: int, *, seconds: float, rounds: int = ROUNDS
) -> dict[str, list[float]]:
    """{graph: seconds of each run} of one batch size, in at least `rounds` rounds, after a warm-up.

    The order turns from round to round, so that none always follows the same other one.
    """
    batch = batch_of(images, batch_size)
    for predict in graphs.values():
        predict(batch)
    times: dict[str, list[float]] = {name: [] for name in graphs}
    names, done, ended = list(graphs), 0, time.perf_counter() + seconds
    while done < rounds or time.perf_counter() < ended:
        turn = done % len(names)
        for name in names[turn:] + names[:turn]:
            started = time.perf_counter()
            graphs[name](batch)
            times[name].append(time.perf_counter() - started)
        done += 1
    return times
