"""The loss of one model against another on the same images, and how often chance alone makes it look like one."""

from __future__ import annotations

import numpy as np
import pytest

from app.paired import PairedLoss


def test_only_images_on_which_they_differ_add_to_the_spread() -> None:
    right = np.array([True, True, False, False] * 25)
    assert PairedLoss.of(right, right) == PairedLoss(100, 0.5, 0.5, 0.0)
    loss = PairedLoss.of(right, ~right)
    assert loss.loss == 0
    assert loss.spread == pytest.approx(0.1)
    assert str(loss) == "50.00% against 50.00% on 100 images (+0.00 points, +-16.45)"


def test_an_equal_model_is_seldom_called_worse() -> None:
    """They differ on a tenth of 1,000 images: the difference is often half a point, and hardly ever surely one."""
    generator = np.random.default_rng(0)
    called = 0
    for _ in range(1000):
        shared = generator.random(1000) < 0.85
        former, new = (shared ^ (generator.random(1000) < 0.05) for _ in range(2))
        called += PairedLoss.of(former, new).least > 0
    assert 20 <= called <= 90, "of 1,000: at most 50 on average"


def test_a_model_that_is_much_worse_is_called_so() -> None:
    generator = np.random.default_rng(1)
    former = generator.random(1000) < 0.9
    assert PairedLoss.of(former, former & (generator.random(1000) < 0.95)).least > 0.02
