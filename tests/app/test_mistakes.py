"""The sheet of mistakes: which ones, in which order, and every pixel as the model saw it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
import pytest

from app.imaging import decode
from app.mistakes import COLUMNS, GAP, HEAD, MAX_MISTAKES, SIDE, Mistake, draw_mistakes, enlarged, find_mistakes

NAMES = ("cat", "dog", "fox")


def images(count: int, height: int = 8, width: int = 8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def mistakes(count: int) -> list[Mistake]:
    return [Mistake(number, 0, 1, 0.9 - number / 1000) for number in range(count)]


def texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: list[Mistake], taken: np.ndarray, names: tuple[str, ...]
) -> list[Any]:
    """Title, summary, and then two lines for each mistake."""
    figures: list[Any] = []
    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", lambda figure, *_args, **_options: figures.append(figure))
    draw_mistakes(found, taken, names, tmp_path / "m.png", "custom_cnn on pets")
    return list(figures[0].texts)


def test_the_most_confident_mistakes_come_first() -> None:
    probabilities = np.array([[0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.0, 0.1, 0.9], [0.2, 0.2, 0.6]], np.float32)
    found = find_mistakes(probabilities, np.array([1, 1, 0, 0]))
    assert [(each.index, each.label, each.answer) for each in found] == [(2, 0, 2), (0, 1, 0), (3, 0, 2)]
    assert [each.confidence for each in found] == pytest.approx([0.9, 0.6, 0.6])


def test_right_answers_are_no_mistakes() -> None:
    assert find_mistakes(np.eye(3), np.arange(3)) == []


def test_each_pixel_is_a_square_and_in_its_place(tmp_path: Path) -> None:
    taken = images(9)
    draw_mistakes(mistakes(9), taken, NAMES, tmp_path / "m.png", "pets")
    sheet = decode((tmp_path / "m.png").read_bytes())
    assert sheet.shape[1] == GAP + COLUMNS * (SIDE + GAP)
    for number, (row, column) in {0: (0, 0), 7: (0, 7), 8: (1, 0)}.items():
        left = GAP + column * (SIDE + GAP)
        top = HEAD + row * (sheet.shape[0] - HEAD) // 2
        shown = sheet[top : top + SIDE, left : left + SIDE]
        assert (shown == taken[number].repeat(16, 0).repeat(16, 1)).all()


@pytest.mark.parametrize(
    ("size", "shown"), [((8, 8), (128, 128)), ((32, 24), (128, 96)), ((100, 90), (100, 90)), ((600, 300), (200, 100))]
)
def test_sizes_of_tiles(size: tuple[int, int], shown: tuple[int, int]) -> None:
    assert enlarged(images(1, *size)[0]).shape == (*shown, 3)


def test_what_stands_below_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    title, summary, true, answer = texts(tmp_path, monkeypatch, [Mistake(3, 2, 0, 0.987)], images(5), NAMES)
    assert title.get_text() == "custom_cnn on pets"
    assert summary.get_text().startswith("1 mistake in 5 images: ")
    assert (true.get_text(), answer.get_text()) == ("fox", "cat 98.7%")


def test_only_so_many_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, summary, *captions = texts(tmp_path, monkeypatch, mistakes(50), images(60), NAMES)
    assert summary.get_text().startswith(f"50 mistakes in 60 images, the {MAX_MISTAKES} most confident")
    assert len(captions) == 2 * MAX_MISTAKES
    assert captions[-1].get_text() == "dog 86.1%"


def test_a_perfect_model_gets_a_sheet_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_mistakes([], images(360), NAMES, tmp_path / "m.png", "pets")
    assert decode((tmp_path / "m.png").read_bytes()).shape[0] == HEAD
    _, summary = texts(tmp_path, monkeypatch, [], images(360), NAMES)
    assert summary.get_text() == "no mistakes: all 360 images were answered right"


def test_captions_do_not_overlap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("a class with a long name, $5", "another one with a long name")
    _, _, *captions = texts(tmp_path, monkeypatch, mistakes(16), images(16), names)
    boxes = [caption.get_window_extent() for caption in captions]
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:number])
        assert box.x1 <= captions[0].figure.bbox.x1
