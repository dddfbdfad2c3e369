"""The files of an evaluation, and the table that other programs read."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from app.datasets import Split
from app.evaluate import ClassReport
from app.evaluation_report import write_classes, write_evaluation_report
from app.imaging import decode


def test_three_files(tmp_path: Path) -> None:
    split = Split(np.zeros((4, 8, 8, 3), np.uint8), np.array([0, 1, 1, 1]))
    answers = np.array([[0.9, 0.1], [0.2, 0.8], [0.2, 0.8], [0.7, 0.3]])
    files = write_evaluation_report(tmp_path, answers, split, ("cat", "dog"), "pets")
    assert [file.name for file in files] == ["confusion.png", "classes.csv", "mistakes.png"]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    for picture in (files[0], files[2]):
        decode(picture.read_bytes())
    _, cat, dog = files[1].read_text().splitlines()
    assert cat == "cat,1,0.5,1.0,"
    assert dog.startswith("dog,3,1.0,0.666")
    assert dog.endswith(",cat")


def test_a_table_of_any_names(tmp_path: Path) -> None:
    names = ["a, b", 'the "best"', "öl", "new\nline"]
    rows = [ClassReport(label=name, count=3, precision=0.5, recall=0.25, most_confused_with="a, b") for name in names]
    write_classes(rows, tmp_path / "classes.csv")
    with (tmp_path / "classes.csv").open(encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["label"] for row in read] == names
    assert read[0] == {
        "label": "a, b",
        "count": "3",
        "precision": "0.5",
        "recall": "0.25",
        "most_confused_with": "a, b",
    }
