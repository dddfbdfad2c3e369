"""The picture of a confusion matrix: what it says for few classes and for many, and nothing cut off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
import pytest

from app.confusion import draw_confusion, shortened
from app.evaluate import Evaluation, evaluate
from app.imaging import decode


def evaluation(names: list[str], *, images: int = 0, seed: int = 0) -> Evaluation:
    """Of answers that are right two times in three."""
    random = np.random.default_rng(seed)
    labels = np.arange(images or 3 * len(names)) % len(names)
    answers = np.where(random.random(len(labels)) < 0.67, labels, random.integers(0, len(names), len(labels)))
    return evaluate(np.eye(len(names))[answers], labels, names)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Figures that would have been saved."""
    figures: list[Any] = []
    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", lambda figure, *_args, **_options: figures.append(figure))
    return figures


def test_every_count_stands_in_its_cell(tmp_path: Path, drawn: list[Any]) -> None:
    measured = evaluation(["cat", "dog", "fox"], images=300)
    draw_confusion(measured, tmp_path / "c.png", "pets")
    (axes,) = drawn[0].axes
    written = {tuple(reversed(text.get_position())): int(text.get_text()) for text in axes.texts}
    assert written == {
        (row, column): measured.confusion[row, column] for row, column in np.argwhere(measured.confusion)
    }
    assert [text.get_text() for text in axes.get_yticklabels()] == ["cat", "dog", "fox"]
    assert drawn[0].get_suptitle() == f"pets\naccuracy {measured.accuracy:.2%}"


def test_right_and_wrong_answers_have_their_own_colours(tmp_path: Path, drawn: list[Any]) -> None:
    measured = evaluation(["cat", "dog", "fox"], images=300)
    draw_confusion(measured, tmp_path / "c.png", "pets")
    wrong, right = drawn[0].axes[0].images
    assert (wrong.get_cmap().name, right.get_cmap().name) == ("Reds", "Blues")
    assert right.get_array().mask.tolist() == (~np.eye(3, dtype=bool)).tolist()
    assert wrong.get_array().mask.tolist() == (np.eye(3, dtype=bool) | (measured.confusion == 0)).tolist()


def test_an_empty_class_is_an_empty_row(tmp_path: Path, drawn: list[Any]) -> None:
    draw_confusion(evaluate(np.eye(3)[[0, 1]], np.array([0, 1]), ["a", "b", "never"]), tmp_path / "c.png", "t")
    assert [text.get_text() for text in drawn[0].axes[0].texts] == ["1", "1"]


def test_with_too_many_classes_names_are_left_out_and_counts_too(tmp_path: Path, drawn: list[Any]) -> None:
    draw_confusion(evaluation([f"n{number}" for number in range(301)]), tmp_path / "c.png", "t")
    (axes,) = drawn[0].axes
    assert not axes.texts
    names = [text.get_text() for text in axes.get_yticklabels()]
    assert len(names) <= 50
    assert names[:2] == ["n0", "n7"]


@pytest.mark.parametrize("names", [["cat", "dog"], ["$x_{$", "a\nb"], [f"a long class name {n}" for n in range(30)]])
def test_nothing_is_cut_off(tmp_path: Path, drawn: list[Any], names: list[str]) -> None:
    draw_confusion(evaluation(names), tmp_path / "c.png", "custom_cnn on a data set with a rather long name " * 3)
    (figure,) = drawn
    width, height = figure.canvas.get_width_height()
    (axes,) = figure.axes
    for text in (
        figure._suptitle,
        axes.xaxis.label,
        axes.yaxis.label,
        *axes.get_xticklabels(),
        *axes.get_yticklabels(),
    ):
        box = text.get_window_extent()
        assert 0 <= box.x0 < box.x1 <= width, text.get_text()
        assert 0 <= box.y0 < box.y1 <= height, text.get_text()


def test_a_picture_is_written(tmp_path: Path) -> None:
    draw_confusion(evaluation(["cat", "dog"]), tmp_path / "c.png", "pets")
    assert decode((tmp_path / "c.png").read_bytes()).shape == (550, 550, 3)


def test_long_names_end_in_an_ellipsis() -> None:
    assert shortened("a\nb  c", 5) == "a b c"
    assert shortened("abcdef", 5) == "abcd…"
