"""Augmentation: drawn per global batch, each image by itself, nothing leaves 0..255, and zero means unchanged."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from app.augment import (
    GREY,
    Draws,
    Mixing,
    alternating,
    augment,
    coloured,
    cut_out,
    draw,
    draw_mixing,
    mixed,
    moved,
    rotated,
)
from app.models import to_floats
from app.settings import FitSettings
from app.training import fit
from tests.app.tiny_data import colour_dataset

pytestmark = pytest.mark.usefixtures("single_thread")

OFF = FitSettings(shift=0, rotate=0, colour=0)
WHOLE_PIXELS = FitSettings(shift=0.25, rotate=0, colour=0)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def noise(count: int, height: int = 12, width: int = 10) -> torch.Tensor:
    return torch.randint(0, 256, (count, height, width, 3), dtype=torch.uint8, generator=torch.Generator())


def drawn(settings: FitSettings, count: int, *, flip: bool = False) -> Draws:
    return draw(settings, np.arange(count), generator(), flip=flip, epoch=0)


def still(count: int, **changed: torch.Tensor) -> Draws:
    """Draws that change nothing but what is given."""
    nothing = Draws(
        mirrored=torch.zeros(count, dtype=torch.bool),
        shift=torch.zeros(count, 2),
        angle=torch.zeros(count),
        colour=torch.ones(count, 3),
        cutout=torch.full((count, 2), 0.5),
    )
    return dataclasses.replace(nothing, **changed)


def test_with_everything_off_images_are_only_converted() -> None:
    images = noise(4)
    assert torch.equal(augment(images, drawn(OFF, 4), OFF), to_floats(images))


@pytest.mark.parametrize(
    "settings",
    [
        FitSettings(colour=0),
        FitSettings(shift=0, rotate=0, colour=0.3),
        WHOLE_PIXELS,
        dataclasses.replace(OFF, cutout=0.4),
    ],
)
def test_images_are_changed_by_themselves(settings: FitSettings) -> None:
    same = noise(1).expand(16, 12, 10, 3)
    assert len(augment(same, drawn(settings, 16), settings).unique(dim=0)) > 8


def test_values_stay_within_bytes_and_channels_are_last() -> None:
    settings = FitSettings(shift=0.5, rotate=180, colour=0.9, cutout=0.3)
    images = torch.cat([noise(64), torch.full((64, 12, 10, 3), 255, dtype=torch.uint8)])
    changed = augment(images, drawn(settings, 128, flip=True), settings)
    assert changed.shape == (128, 3, 12, 10)
    assert changed.dtype == torch.float32
    assert changed.min() >= 0
    assert changed.max() <= 255
    assert changed.is_contiguous(memory_format=torch.channels_last)


def test_each_image_is_mirrored_in_every_other_epoch() -> None:
    index = generator().permutation(2000)
    first, second, third = (alternating(index, 3, epoch) for epoch in range(3))
    assert torch.equal(first, ~second)
    assert torch.equal(first, third)
    assert 900 < first.sum() < 1100
    assert not torch.equal(first, alternating(index, 4, 0)), "another seed begins with others"
    assert torch.equal(alternating(index[:7], 3, 0), first[:7]), "whatever the batch"


def test_mirroring_by_chance() -> None:
    settings = dataclasses.replace(OFF, alternate_flip=False)
    one, other = (draw(settings, np.arange(1000), generator(n), flip=True, epoch=0).mirrored for n in range(2))
    assert 430 < one.sum() < 570  # 4.4 standard deviations
    assert not torch.equal(one, other)


def test_nothing_is_mirrored_where_it_would_be_another_class() -> None:
    assert not drawn(OFF, 100, flip=False).mirrored.any()


@pytest.mark.parametrize("settings", [WHOLE_PIXELS, FitSettings(rotate=1e-9, shift=0, colour=0)])
def test_a_mirrored_image(settings: FitSettings) -> None:
    """By the gather and by the sampling grid."""
    images = noise(3)
    mirrored = augment(images, still(3, mirrored=torch.tensor([True, False, True])), settings)
    expected = to_floats(images)
    expected[[0, 2]] = expected[[0, 2]].flip(3)
    torch.testing.assert_close(mirrored, expected, atol=0.01, rtol=0)


def test_a_shift_is_down_and_to_the_right_and_reflects_the_border() -> None:
    image = torch.arange(5.0).repeat(4, 1).expand(1, 3, 4, 5)
    right = moved(image, still(1, shift=torch.tensor([[0.0, 0.4]])))  # two of five columns
    assert right[0, 0, 0].tolist() == [2, 1, 0, 1, 2]
    left = moved(image, still(1, shift=torch.tensor([[0.0, -0.2]])))
    assert left[0, 0, 0].tolist() == [1, 2, 3, 4, 3]
    down = moved(image.transpose(2, 3), still(1, shift=torch.tensor([[0.4, 0.0]])))
    assert down[0, 0, :, 0].tolist() == [2, 1, 0, 1, 2]


def test_both_ways_of_shifting_agree() -> None:
    images = noise(6, 16, 16)
    draws = still(6, shift=(torch.arange(12).view(6, 2) - 6) / 16, mirrored=torch.arange(6) % 2 == 1)
    by_gather, by_sampling = moved(to_floats(images), draws), rotated(to_floats(images), draws)
    inside = (slice(None), slice(None), slice(6, 10), slice(6, 10))  # their borders reflect differently
    torch.testing.assert_close(by_sampling[inside], by_gather[inside], atol=0.05, rtol=0)


def test_a_shift_moves_by_at_most_its_share() -> None:
    shift = drawn(WHOLE_PIXELS, 500).shift
    assert shift.abs().max() <= 0.25
    assert shift.abs().max() > 0.24
    assert abs(shift.mean()) < 0.03


def test_a_rotation_keeps_shapes_in_oblong_images() -> None:
    """A quarter turn maps a horizontal bar to a vertical one of the same length in pixels."""
    bar = torch.zeros(1, 3, 20, 40)
    bar[..., 9:11, 15:25] = 100
    turned = rotated(bar, still(1, angle=torch.tensor([math.pi / 2])))[0, 0, :, 10:30]  # further out are mirror images
    expected = torch.zeros(20, 20)
    expected[5:15, 9:11] = 100
    assert torch.allclose(turned, expected, atol=1)


def test_colour_changes_by_at_most_its_strength() -> None:
    factors = drawn(FitSettings(colour=0.2), 500).colour
    assert 0.8 <= factors.min() < 0.81
    assert 1.19 < factors.max() <= 1.2


def test_saturation_and_contrast_are_about_grey() -> None:
    image = torch.tensor([[90.0, 100, 110], [30, 40, 50]]).t().reshape(1, 3, 1, 2)
    # saturation x2: (80, 100, 120) and (20, 40, 60); contrast x0.5: then half way to the mean of 70
    changed = coloured(image, torch.tensor([[1.0, 0.5, 2.0]])).flatten(2)[0].t()
    assert torch.allclose(changed, torch.tensor([[75.0, 85, 95], [45, 55, 65]]), atol=1e-3)


def test_cutout_covers_a_square() -> None:
    white = torch.full((2, 3, 20, 40), 255.0)
    covered = cut_out(white, torch.tensor([[0.5, 0.5], [0.0, 0.0]]), 0.5) == GREY
    assert covered[0, 0].sum() == 10 * 20
    assert covered[0, 0, 5:15, 10:30].all()
    assert covered[1, 0].sum() == 5 * 10, "three quarters of it lie outside"


def test_what_happens_to_an_image_does_not_depend_on_who_shares_the_batch() -> None:
    settings = FitSettings(cutout=0.2)
    images, draws = noise(8), drawn(settings, 8, flip=True)
    together = augment(images, draws, settings)
    apart = [augment(images[rank::2], draws.of(slice(rank, None, 2)), settings) for rank in range(2)]
    assert torch.equal(together[0::2], apart[0])
    assert torch.equal(together[1::2], apart[1])


def test_mixup_blends_pairs() -> None:
    found = draw_mixing(FitSettings(mixup=0.4), 8, (4, 6), generator())
    assert found is not None
    assert found.box is None
    assert sorted(found.partner) == list(range(8))
    blended = mixed(torch.full((8, 3, 4, 6), 10.0), torch.full((8, 3, 4, 6), 20.0), Mixing(found.partner, 0.7, None))
    torch.testing.assert_close(blended, torch.full((8, 3, 4, 6), 13.0))


def test_cutmix_pastes_a_rectangle_of_the_share_it_says() -> None:
    for seed in range(20):
        found = draw_mixing(FitSettings(cutmix=1.0), 8, (10, 20), generator(seed))
        assert found is not None
        images = mixed(torch.zeros(8, 3, 10, 20), torch.ones(8, 3, 10, 20), found)
        assert 1 - float(images.mean()) == pytest.approx(found.share)


def test_no_mixing_unless_asked_for() -> None:
    assert draw_mixing(FitSettings(), 8, (4, 4), generator()) is None


@pytest.mark.parametrize(
    ("mirror_ok", "flip", "expected"),
    [(True, None, True), (False, None, False), (True, False, False), (False, True, True)],
)
def test_the_data_decides_whether_to_mirror_unless_the_user_does(
    monkeypatch: pytest.MonkeyPatch, mirror_ok: bool, flip: bool | None, expected: bool
) -> None:
    """A mirrored digit is another digit."""
    seen: set[bool] = set()

    def spy(
        settings: FitSettings, index: np.ndarray, generator: np.random.Generator, *, flip: bool, epoch: int
    ) -> Draws:
        seen.add(flip)
        return draw(settings, index, generator, flip=flip, epoch=epoch)

    monkeypatch.setattr("app.training_loop.draw", spy)
    dataset = dataclasses.replace(colour_dataset(train=8, val=4), mirror_ok=mirror_ok)
    fit(FitSettings(epochs=1, batch_size=8, flip=flip), dataset, device=torch.device("cpu"))
    assert seen == {expected}
