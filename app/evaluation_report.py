"""What stays of an evaluation for people to look at: confusion matrix, table of classes, sheet of mistakes."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np

from app.confusion import draw_confusion
from app.datasets import Split
from app.evaluate import ClassReport, evaluate
from app.mistakes import draw_mistakes, find_mistakes

CONFUSION_FILE = "confusion.png"
CLASSES_FILE = "classes.csv"
MISTAKES_FILE = "mistakes.png"


def write_evaluation_report(
    folder: Path, probabilities: np.ndarray, split: Split, names: Sequence[str], title: str
) -> tuple[Path, ...]:
    """Writes the three files and returns them. probabilities: float [N, C], the answers to the split's images."""
    evaluation = evaluate(probabilities, split.labels, names)
    confusion, classes, mistakes = (folder / name for name in (CONFUSION_FILE, CLASSES_FILE, MISTAKES_FILE))
    draw_confusion(evaluation, confusion, title)
    write_classes(evaluation.classes, classes)
    draw_mistakes(find_mistakes(probabilities, split.labels), split.images, names, mistakes, title)
    return confusion, classes, mistakes


def write_classes(classes: Sequence[ClassReport], path: Path) -> None:
    """CSV, a line for each class: MLflow's page shows it as a table."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(ClassReport)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in classes)
