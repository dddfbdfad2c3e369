"""Which rows make a batch, how many steps and epochs there are, and the statistics of the images."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from app.batches import DeviceSplit, channel_statistics, default_epochs, global_batches, steps_per_epoch
from app.datasets import Split


def test_take_gives_the_rows_that_were_asked_for() -> None:
    images = np.arange(6 * 2 * 2 * 3, dtype=np.uint8).reshape(6, 2, 2, 3)
    labels = np.array([5, 4, 3, 2, 1, 0], np.int64)
    for array in (images, labels):
        array.flags.writeable = False  # as the cached files are
    split = DeviceSplit(Split(images, labels), torch.device("cpu"))
    assert len(split) == 6
    batch, targets = split.take(np.array([4, 0, 4]))
    assert batch.dtype == torch.uint8
    assert batch.tolist() == images[[4, 0, 4]].tolist()
    assert targets.tolist() == [1, 5, 1]


def test_taking_leaves_the_split_as_it_was() -> None:
    images = np.zeros((2, 1, 1, 3), np.uint8)
    split = DeviceSplit(Split(images, np.zeros(2, np.int64)), torch.device("cpu"))
    split.take(np.array([0, 1]))[0].fill_(9)
    assert not images.any()


@pytest.mark.parametrize(("count", "batch_size", "steps"), [(100, 10, 10), (109, 10, 10), (10, 10, 1), (3, 64, 1)])
def test_steps_per_epoch(count: int, batch_size: int, steps: int) -> None:
    assert steps_per_epoch(count, batch_size) == steps
    assert len(list(global_batches(count, batch_size, seed=0, epoch=0))) == steps


@pytest.mark.parametrize(("count", "epochs"), [(1259, 60), (64 * 30, 40), (64 * 60, 20), (45_000, 20), (5, 60)])
def test_small_data_gets_more_epochs(count: int, epochs: int) -> None:
    assert default_epochs(count, 64) == epochs


def test_batches_are_disjoint_and_in_another_order_each_epoch() -> None:
    def rows(seed: int, epoch: int) -> list[int]:
        return np.concatenate(list(global_batches(103, 10, seed=seed, epoch=epoch))).tolist()

    first = rows(7, 0)
    assert len(set(first)) == 100
    assert set(first) < set(range(103))
    assert rows(7, 0) == first
    assert rows(7, 1) != first
    assert rows(8, 0) != first
    left_out = {frozenset(range(103)) - set(rows(7, epoch)) for epoch in range(5)}
    assert len(left_out) > 1, "the incomplete batch leaves out other images each time"


def test_a_split_smaller_than_a_batch_is_one_batch() -> None:
    (batch,) = global_batches(5, 64, seed=0, epoch=0)
    assert sorted(batch) == [0, 1, 2, 3, 4]


def test_channel_statistics() -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 5, 7, 3), dtype=np.uint8)
    images[..., 1] //= 4
    mean, std = channel_statistics(images)
    assert mean == pytest.approx(images.mean((0, 1, 2)))
    assert std == pytest.approx(images.std((0, 1, 2)))


def test_a_channel_without_variation_can_be_divided_by() -> None:
    mean, std = channel_statistics(np.full((3, 2, 2, 3), 17, np.uint8))
    assert (mean, std) == ([17, 17, 17], [1, 1, 1])


@pytest.mark.parametrize("count", [10, 11, 19, 20, 21, 95])
def test_the_sample_is_bounded_and_spread_over_all_images(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    images = np.repeat(np.arange(count, dtype=np.uint8), 3).reshape(count, 1, 1, 3)
    mean, _ = channel_statistics(images, sample=10)
    taken = np.arange(0, count, math.ceil(count / 10))
    assert len(taken) <= 10
    assert mean[0] == pytest.approx(taken.mean())
    assert taken.max() >= count - 10
