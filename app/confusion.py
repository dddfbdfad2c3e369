"""The confusion matrix of an evaluation, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from app.evaluate import Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_LABELLED = 100
"""Classes up to which every one has its name, and every cell that is not empty its count."""
MAX_NAME = 20
"""Letters of a class name that are shown."""
SMALLEST, CELL, UNLABELLED = 5.0, 0.24, 12.0
"""Inches of the picture's side: at least, for each class, and with more classes than can have their names."""
LETTERS_AN_INCH = 11
"""Of the title, about."""
TINT = 0.5
"""Exponent on shares before they become a colour, so that one mistake in a hundred is still to be seen."""
DARK = 0.55
"""Tint from which on the count in a cell is written in white."""


def draw_confusion(evaluation: Evaluation, path: Path, title: str) -> None:
    """Writes a PNG: a row for each true class, a column for each answer, right answers blue and wrong ones red.

    Colours show shares of a row, so that rare classes are seen as well as frequent ones.
    """
    from matplotlib.figure import Figure  # no pyplot: it would look for a display

    labelled = len(evaluation.classes) <= MAX_LABELLED
    side = max(SMALLEST, 2 + CELL * len(evaluation.classes)) if labelled else UNLABELLED
    figure = Figure(figsize=(side, side), layout="constrained")
    lines = (shortened(title, int(LETTERS_AN_INCH * side)), f"accuracy {evaluation.accuracy:.2%}")
    figure.suptitle("\n".join(lines), fontsize=10, parse_math=False)
    axes = figure.add_subplot()
    tints = _tints(evaluation.confusion)
    _paint(axes, tints)
    _name_classes(axes, [shortened(row.label, MAX_NAME) for row in evaluation.classes])
    if labelled:
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # thousands of counts would take as long to lay out as to draw
        _write_counts(axes, evaluation.confusion, tints)
    figure.savefig(path, dpi=110)


def shortened(text: str, length: int) -> str:
    """On one line, with an ellipsis for what does not fit."""
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _tints(confusion: np.ndarray) -> np.ndarray:
    """float64 [C, C] from 0 to 1: shares of each row, the small ones raised."""
    return (confusion / np.maximum(confusion.sum(1, keepdims=True), 1)) ** TINT


def _paint(axes: Axes, tints: np.ndarray) -> None:
    empty, right = tints == 0, np.eye(len(tints), dtype=bool)
    for colours, hidden in (("Reds", empty | right), ("Blues", empty | ~right)):
        axes.imshow(np.ma.masked_array(tints, hidden), cmap=colours, vmin=0, vmax=1, interpolation="nearest")


def _name_classes(axes: Axes, names: list[str]) -> None:
    """Every class, or with too many of them every so many."""
    places = range(0, len(names), 1 if len(names) <= MAX_LABELLED else -(-len(names) // 50))
    shown = [names[place] for place in places]
    upright = max(map(len, shown)) > 2
    axes.set_xticks(places, shown, rotation=90 if upright else 0, parse_math=False)
    axes.set_yticks(places, shown, parse_math=False)
    axes.set(xlabel="answer", ylabel="true class")


def _write_counts(axes: Axes, confusion: np.ndarray, tints: np.ndarray) -> None:
    for row, column in np.argwhere(confusion):
        text, colour = str(confusion[row, column]), "white" if tints[row, column] > DARK else "black"
        size = 8 if len(text) < 3 else 6
        axes.text(column, row, text, ha="center", va="center", fontsize=size, color=colour)
