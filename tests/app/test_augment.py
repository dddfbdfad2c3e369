"""Augmentation: each image by itself, nothing leaves 0..255, and zero means unchanged."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
import torch

from app.augment import augment, colour_jitter, random_flip, random_move
from app.models import to_floats
from app.settings import FitSettings
from app.training import fit
from tests.app.tiny_data import colour_dataset, one_thread

OFF = FitSettings(shift=0, rotate=0, colour=0)


@pytest.fixture(scope="module", autouse=True)
def single_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def noise(count: int, height: int = 12, width: int = 10) -> torch.Tensor:
    return torch.randint(0, 256, (count, height, width, 3), dtype=torch.uint8)


def test_with_everything_off_images_are_only_converted() -> None:
    images = noise(4)
    assert torch.equal(augment(images, OFF, flip=False), to_floats(images))


@pytest.mark.parametrize("settings", [FitSettings(colour=0), FitSettings(shift=0, rotate=0, colour=0.3)])
def test_each_image_is_changed_by_itself(settings: FitSettings) -> None:
    same = noise(1).expand(16, 12, 10, 3)
    assert len(augment(same, settings, flip=False).unique(dim=0)) == 16


def test_values_stay_within_bytes() -> None:
    images = torch.cat([noise(64), torch.full((64, 12, 10, 3), 255, dtype=torch.uint8)])
    changed = augment(images, FitSettings(shift=0.5, rotate=180, colour=0.9), flip=True)
    assert changed.shape == (128, 3, 12, 10)
    assert changed.dtype == torch.float32
    assert changed.min() >= 0
    assert changed.max() <= 255


def test_half_of_the_images_are_mirrored() -> None:
    images = to_floats(noise(1)).expand(1000, 3, 12, 10)
    flipped = random_flip(images)
    mirrored = (flipped == images.flip(3)).all((1, 2, 3))
    assert ((flipped == images).all((1, 2, 3)) ^ mirrored).all()
    assert 430 < mirrored.sum() < 570  # 4.4 standard deviations


def test_no_shift_and_no_rotation_is_the_identity() -> None:
    images = to_floats(noise(8))
    assert torch.allclose(random_move(images, 0, 0), images, atol=1e-2)


def test_a_shift_moves_by_at_most_its_share() -> None:
    """A bright column in the middle of 32 ends up no further than a quarter of the width away."""
    images = torch.zeros(200, 3, 32, 32)
    images[..., 16] = 100
    columns = (torch.arange(32) * random_move(images, 0.25, 0)[:, 0, 16]).sum(1) / 100
    moved = columns - 16
    assert moved.abs().max() <= 8.01
    assert moved.min() < -6
    assert moved.max() > 6


def test_a_rotation_keeps_shapes_in_oblong_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter turn maps a horizontal bar to a vertical one of the same length in pixels."""
    monkeypatch.setattr("app.augment._uniform", lambda count, limit, _: torch.full((count,), float(limit)))
    bar = torch.zeros(1, 3, 20, 40)
    bar[..., 9:11, 15:25] = 100
    turned = random_move(bar, 0, 90)[0, 0, :, 10:30]  # further out are mirror images
    expected = torch.zeros(20, 20)
    expected[5:15, 9:11] = 100
    assert torch.allclose(turned, expected, atol=1)


def test_colour_changes_by_at_most_its_strength() -> None:
    grey = torch.full((500, 3, 4, 4), 100.0)
    means = colour_jitter(grey, 0.2).mean((1, 2, 3))
    assert 80 <= means.min() < 85
    assert 115 < means.max() <= 120.001


def test_colour_jitter_keeps_brightness_of_grey_apart_from_saturation(monkeypatch: pytest.MonkeyPatch) -> None:
    factors = iter([0.0, -0.5, 1.0])  # brightness x1, contrast x0.5, saturation x2
    monkeypatch.setattr("app.augment._uniform", lambda count, *_: torch.full((count,), next(factors)))
    image = torch.tensor([[90.0, 100, 110], [30, 40, 50]]).t().reshape(1, 3, 1, 2)
    # saturation: (80, 100, 120) and (20, 40, 60); then half way to the mean of 70
    assert torch.allclose(
        colour_jitter(image, 1).flatten(2)[0].t(), torch.tensor([[75.0, 85, 95], [45, 55, 65]]), atol=1e-3
    )


@pytest.mark.parametrize("mirror_ok", [True, False])
def test_the_data_decides_whether_to_mirror(monkeypatch: pytest.MonkeyPatch, mirror_ok: bool) -> None:
    """A mirrored digit is another digit."""
    assert flips(monkeypatch, mirror_ok, None) == {mirror_ok}


@pytest.mark.parametrize("flip", [True, False])
def test_the_user_has_the_last_word_on_mirroring(monkeypatch: pytest.MonkeyPatch, flip: bool) -> None:
    assert flips(monkeypatch, not flip, flip) == {flip}


def flips(monkeypatch: pytest.MonkeyPatch, mirror_ok: bool, flip: bool | None) -> set[bool]:
    """What `fit` asks of `augment`."""
    seen: set[bool] = set()

    def spy(images: torch.Tensor, settings: FitSettings, *, flip: bool) -> torch.Tensor:
        seen.add(flip)
        return augment(images, settings, flip=flip)

    monkeypatch.setattr("app.training.augment", spy)
    dataset = dataclasses.replace(colour_dataset(train=8, val=4), mirror_ok=mirror_ok)
    fit(FitSettings(epochs=1, batch_size=8, flip=flip), dataset, device=torch.device("cpu"))
    return seen
