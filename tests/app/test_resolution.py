"""Images that grow from epoch to epoch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from app.resolution import epoch_size, resized
from app.settings import FitSettings
from app.training import fit
from tests.app.tiny_data import colour_dataset, one_thread


def sizes(least: int = 8, size: tuple[int, int] = (32, 32), **settings: Any) -> list[tuple[int, int]]:
    chosen = FitSettings(epochs=10, **settings)
    return [epoch_size(chosen, size, epoch, least=least) for epoch in range(10)]


def test_unless_asked_images_stay_as_they_are() -> None:
    assert set(sizes()) == {(32, 32)}
    assert set(sizes(size=(31, 17))) == {(31, 17)}


def test_they_grow_to_their_full_size_and_stay_there() -> None:
    grown = sizes(grow_from=0.5, grow_until=0.5)
    assert grown[0] == (16, 16)
    assert grown == sorted(grown)
    assert set(grown[5:]) == {(32, 32)}
    assert all(side % 4 == 0 for side, _ in grown)


def test_no_side_is_smaller_than_the_network_takes() -> None:
    assert sizes(least=24, grow_from=0.25)[0] == (24, 24)
    assert sizes(least=64, grow_from=0.25)[0] == (32, 32), "nor larger than the image"


def test_both_sides_grow() -> None:
    assert sizes(size=(64, 32), grow_from=0.5)[0] == (32, 16)


def test_a_smaller_image_looks_the_same() -> None:
    ramp = torch.linspace(0, 255, 32).expand(2, 3, 32, 32)
    smaller = resized(ramp, (16, 16))
    assert smaller.shape == (2, 3, 16, 16)
    assert smaller.mean().item() == pytest.approx(127.5, abs=0.5)
    assert (smaller.diff(dim=3) > 0).all()
    assert resized(ramp, (32, 32)) is ramp


def test_a_run_learns_with_it() -> None:
    with one_thread():
        state = fit(FitSettings(epochs=20, batch_size=8, grow_from=0.5), colour_dataset(), device=torch.device("cpu"))
    assert state.best.val_accuracy > 0.8
