"""Answers on a split: each image once and in order, in batches that fit, and with views of it."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import nn

from app.batches import DeviceSplit
from app.datasets import Split
from app.validation import eval_batch, evaluate, predict, views
from tests.app.tiny_data import colour_split

CPU = torch.device("cpu")


class Brightest(nn.Module):
    """Logits are the channels' means."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((2, 3)) / 10


def test_probabilities_are_in_order_whatever_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    split = DeviceSplit(colour_split(20, seed=1), CPU)
    whole = predict(Brightest(), split)
    monkeypatch.setattr("app.validation.MAX_BATCH", 3)
    np.testing.assert_allclose(predict(Brightest(), split), whole, atol=1e-6)
    assert whole.dtype == np.float32
    assert whole.argmax(1).tolist() == [n % 3 for n in range(20)]
    loss, accuracy = evaluate(Brightest(), split, precision=nullcontext())
    assert accuracy == 1.0
    assert loss == pytest.approx(-np.log(whole[np.arange(20), np.arange(20) % 3]).mean(), rel=1e-4)


@pytest.mark.parametrize(("size", "expected"), [((8, 8), 512), ((64, 64), 512), ((224, 224), 41), ((1024, 1024), 2)])
def test_large_images_are_evaluated_in_small_batches(size: tuple[int, int], expected: int) -> None:
    split = Split(np.broadcast_to(np.zeros(1, np.uint8), (4, *size, 3)), np.zeros(4, np.int64))
    assert eval_batch(DeviceSplit(split, CPU)) == expected


def test_views_are_shifted_and_mirrored() -> None:
    image = torch.zeros(1, 1, 9, 9)
    image[..., 4, 4] = 1
    seen = [tuple(int(value) for value in view[0, 0].nonzero()[0]) for view in views(image, mirror=False)]
    assert seen == [(4, 4), (6, 6), (2, 2)]
    assert len(list(views(image, mirror=True))) == 6


def test_with_test_time_augmentation_the_views_are_averaged() -> None:
    split = DeviceSplit(colour_split(6, seed=1), CPU)
    plain, averaged = predict(Brightest(), split), predict(Brightest(), split, tta=True)
    assert averaged.shape == plain.shape
    np.testing.assert_allclose(averaged.sum(1), 1, rtol=1e-5)
    assert not np.array_equal(plain, averaged)
