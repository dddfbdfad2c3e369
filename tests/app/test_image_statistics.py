"""Numbers that a person would agree with, the same for one image and for many."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from app.image_statistics import NAMES, image_statistics


def statistics(image: np.ndarray) -> dict[str, float]:
    return dict(zip(NAMES, image_statistics(image[np.newaxis])[0].tolist(), strict=True))


def picture(height: int, width: int) -> np.ndarray:
    """uint8 [H, W, 3]: smooth shapes and some noise."""
    noise = np.random.default_rng(0).integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    large = cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(large, np.uint8)


def test_of_one_colour() -> None:
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 200
    found = statistics(red)
    assert found["brightness"] == pytest.approx(0.299 * 200, abs=1e-3)
    assert found["saturation"] == 200
    assert [found["contrast"], found["sharpness"]] == pytest.approx([0, 0], abs=1e-3)


def test_of_stripes() -> None:
    stripes = np.zeros((8, 8, 3), np.uint8)
    stripes[:, ::2] = 100
    found = statistics(stripes)
    assert found["brightness"] == pytest.approx(50, abs=1e-3)
    assert found["contrast"] == pytest.approx(50, abs=1e-3)
    assert found["saturation"] == 0
    assert found["sharpness"] == pytest.approx(50, abs=1e-3), "100 across, nothing down"


@pytest.mark.parametrize("size", [(32, 32), (65, 200), (300, 224)])
def test_what_each_of_them_sees(size: tuple[int, int]) -> None:
    image = picture(*size)
    before = statistics(image)
    blurred = statistics(np.asarray(cv2.GaussianBlur(image, (0, 0), 3), np.uint8))
    assert blurred["sharpness"] < 0.6 * before["sharpness"]
    assert blurred["brightness"] == pytest.approx(before["brightness"], abs=2)
    dark = statistics(image // 2)
    assert dark["brightness"] == pytest.approx(before["brightness"] / 2, abs=1)
    assert dark["contrast"] == pytest.approx(before["contrast"] / 2, abs=1)
    grey = statistics(np.repeat(image.mean(-1, keepdims=True).astype(np.uint8), 3, axis=-1))
    assert grey["saturation"] == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (300, 1)])
def test_without_neighbours(shape: tuple[int, int]) -> None:
    found = image_statistics(np.full((2, *shape, 3), 7, np.uint8))
    np.testing.assert_allclose(found, [[7, 0, 0, 0]] * 2, atol=1e-3)


def test_many_at_once_are_what_each_is_alone() -> None:
    images = np.random.default_rng(1).integers(0, 256, (600, 9, 7, 3), dtype=np.uint8)
    together = image_statistics(images)
    assert together.shape == (600, 4)
    assert together.dtype == np.float32
    alone = np.concatenate([image_statistics(images[index : index + 1]) for index in (0, 255, 256, 599)])
    np.testing.assert_allclose(together[[0, 255, 256, 599]], alone, rtol=1e-5)
    assert image_statistics(images[:0]).shape == (0, 4)
