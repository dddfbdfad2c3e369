"""The images a model got wrong, the most confident mistakes first, as one sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from app.confusion import shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_MISTAKES = 40
COLUMNS = 8
SIDE = 128
"""Pixels that the longer side of an image is enlarged to, or as near as whole factors come."""
GAP, CAPTION, HEAD = 16, 36, 64
"""Pixels between images, below each of them, and above all."""
DPI = 100
LETTER = 6.4
"""Pixels of a letter of a caption, about."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One image with a wrong answer."""

    index: int
    """Of the image in its split."""
    label: int
    answer: int
    confidence: float
    """Probability of the wrong answer, 0 to 1."""


def find_mistakes(probabilities: np.ndarray, labels: np.ndarray) -> list[Mistake]:
    """Every mistake, the most confident first. probabilities: float [N, C]; labels: int [N]."""
    answers = probabilities.argmax(1)
    wrong = np.flatnonzero(answers != labels)
    confidences = probabilities[wrong, answers[wrong]]
    return [
        Mistake(int(index), int(labels[index]), int(answers[index]), float(confidence))
        for confidence, index in sorted(zip(confidences, wrong, strict=True), key=lambda each: (-each[0], each[1]))
    ]


def draw_mistakes(
    mistakes: Sequence[Mistake], images: np.ndarray, names: Sequence[str], path: Path, title: str
) -> None:
    """Writes a PNG with the first MAX_MISTAKES of them, or one that says that there are none.

    images: uint8 [N, H, W, 3] of the whole split; only those that are drawn are read.
    """
    shown = mistakes[:MAX_MISTAKES]
    tiles = [enlarged(images[mistake.index]) for mistake in shown]
    height, width = tiles[0].shape[:2] if tiles else (0, 0)
    rows = -(-len(shown) // COLUMNS)
    size = (GAP + COLUMNS * (max(width, SIDE) + GAP), HEAD + rows * (height + CAPTION + GAP))
    figure = _empty(size)
    _write(figure, GAP, 12, title, size=12)
    _write(figure, GAP, 36, _summary(len(shown), len(mistakes), len(images)), size=9, colour="0.35")
    for number, (mistake, tile) in enumerate(zip(shown, tiles, strict=True)):
        row, column = divmod(number, COLUMNS)
        left, top = GAP + column * (max(width, SIDE) + GAP), HEAD + row * (height + CAPTION + GAP)
        figure.figimage(tile, left, size[1] - top - height, origin="upper")
        _write_caption(figure, left, top + height + 4, mistake, names, room=int(max(width, SIDE) / LETTER))
    figure.savefig(path, dpi=DPI)


def enlarged(image: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] by a whole factor, every pixel a square; images larger than a tile lose rows and columns."""
    longer = max(image.shape[:2])
    step, factor = -(-longer // (2 * SIDE)), max(1, SIDE // longer)
    return image[::step, ::step].repeat(factor, 0).repeat(factor, 1)


def _summary(shown: int, mistakes: int, images: int) -> str:
    if not mistakes:
        return f"no mistakes: all {images:,} images were answered right"
    which = f", the {shown} most confident" if shown < mistakes else ""
    counted = f"{mistakes:,} mistake{'s' * (mistakes > 1)} in {images:,} images"
    return f"{counted}{which}: the true class, and below it the wrong answer"


def _empty(size: tuple[int, int]) -> Figure:
    from matplotlib.figure import Figure  # no pyplot: it would look for a display

    return Figure(figsize=(size[0] / DPI, size[1] / DPI), dpi=DPI)


def _write_caption(figure: Figure, left: int, top: int, mistake: Mistake, names: Sequence[str], *, room: int) -> None:
    """Two lines below an image, as wide as `room` letters."""
    confidence = f" {mistake.confidence:.1%}"
    _write(figure, left, top, shortened(names[mistake.label], room), size=8, colour="tab:green")
    answer = shortened(names[mistake.answer], room - len(confidence)) + confidence
    _write(figure, left, top + 15, answer, size=8, colour="tab:red")


def _write(figure: Figure, left: int, top: int, text: str, *, size: int, colour: str = "black") -> None:
    """At a place in pixels from the upper left corner."""
    width, height = figure.get_size_inches() * DPI
    figure.text(left / width, 1 - top / height, text, va="top", fontsize=size, color=colour, parse_math=False)
