"""A row for each file, whatever the file; and a file of answers that is complete or as it was before."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest

from app.answers_file import FORMATS, Row, answers_file, check_format
from app.batch_prediction import FilesClassifier, blocks_of, images_in
from app.dataset_source import SourceFile, list_source
from app.errors import BadDataset, BadInput
from tests.app.image_trees import entries, write_tree
from tests.bundles import COLOURS
from tests.serve_deployments.fakes import colour_png

FILES = {
    "a/blue.png": colour_png(2),
    "a/broken.png": colour_png(0)[:-30],
    "b/empty.PNG": b"",
    "green.jpeg": colour_png(1, 20, 31),
    "notes.txt": b"no image",
}


def shares(images: np.ndarray) -> np.ndarray:
    """float32 [N, 3]: of red, green and blue."""
    means = images.mean((1, 2), dtype=np.float32)
    answer: np.ndarray = means / means.sum(1, keepdims=True)
    return answer


def found(folder: Path) -> list[SourceFile]:
    return images_in(list_source(write_tree(folder, FILES)).files, str(folder))


def classified(files: Sequence[SourceFile], *, top_k: int = 1) -> list[Row]:
    return FilesClassifier(shares, COLOURS, (8, 8), top_k)(files)


def test_every_image_has_a_row_in_order(tmp_path: Path) -> None:
    blue, broken, empty, green = classified(found(tmp_path))
    assert blue == {"file": "a/blue.png", "predictions": [{"class_id": 2, "class_name": "blue", "confidence": 1.0}]}
    assert broken["file"] == "a/broken.png"
    assert "predictions" not in broken
    assert empty["file"] == "b/empty.PNG"
    assert "predictions" not in empty
    assert empty["error"]
    assert green["predictions"][0]["class_name"] == "green"


def test_more_files_than_fit_in_one_batch(tmp_path: Path) -> None:
    files = {f"{number:03}.png": colour_png(number % 3) for number in range(150)} | {"070.png": b"no image"}
    rows = classified(list_source(write_tree(tmp_path, files)).files)
    assert [row["file"] for row in rows] == sorted(files)
    answers = {row["file"]: row["predictions"][0]["class_id"] for row in rows if "predictions" in row}
    assert answers == {f"{number:03}.png": number % 3 for number in range(150) if number != 70}


def test_a_folder_without_images(tmp_path: Path) -> None:
    folder = write_tree(tmp_path, {"notes.txt": b"no image"})
    with pytest.raises(BadDataset, match="holds no images"):
        images_in(list_source(folder).files, str(folder))


def test_blocks_are_all_of_the_files() -> None:
    file = SourceFile("a.png", "/a.png", 1, 1)
    assert [len(block) for block in blocks_of([file] * 5000, 2)] == [512] * 9 + [392]
    assert [len(block) for block in blocks_of([file] * 500, 4)] == [32] * 15 + [20], "all four have work"
    assert [len(block) for block in blocks_of([file] * 20, 4)] == [16, 4]
    assert blocks_of([], 4) == []


def test_a_name_that_is_no_utf8_is_written_too(tmp_path: Path) -> None:
    name = b"caf\xe9.png".decode(errors="surrogateescape")
    (row,) = classified(list_source(write_tree(tmp_path / "images", {name: colour_png(0)})).files)
    assert row["file"] == "caf\\xe9.png"
    for suffix in FORMATS:
        with answers_file(tmp_path / f"answers{suffix}", 1) as file:
            file.write([row])


def read(path: Path) -> list[dict[str, object]]:
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            return [{name: value or None for name, value in row.items()} for row in csv.DictReader(file)]
    if path.suffix == ".parquet":
        rows: list[dict[str, object]] = parquet.read_table(path).to_pylist()
        return rows
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("suffix", FORMATS)
def test_what_is_written_is_read_again(tmp_path: Path, suffix: str) -> None:
    rows = classified(found(tmp_path / "images"), top_k=2)
    path = tmp_path / f"answers{suffix}"
    with answers_file(path, 2) as file:
        file.write(rows[:1])
        file.write(rows[1:])
    again = read(path)
    if suffix == ".jsonl":
        assert again == rows
        return
    assert [row["file"] for row in again] == [row["file"] for row in rows]
    blue, broken, empty, _ = again
    assert (blue["class_name"], str(blue["class_id"]), blue["error"]) == ("blue", "2", None)
    assert float(str(blue["confidence"])) == 1.0
    assert blue["class_name_2"] == "red", "the lower id first when equal"
    assert (broken["class_name"], empty["error"]) == (None, rows[2]["error"])


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_job_that_fails_leaves_the_former_answers(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"answers{suffix}"
    path.write_text("former")
    with pytest.raises(ZeroDivisionError), answers_file(path, 1) as file:
        file.write([{"file": "a", "error": "no image"}])
        raise ZeroDivisionError
    assert path.read_text() == "former"
    assert entries(tmp_path) == [path.name]


@pytest.mark.parametrize("name", ["answers", "answers.xlsx", ".csv"])
def test_other_formats_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match=r"has to end with \.csv, \.jsonl, \.parquet"):
        check_format(tmp_path / name)


def test_a_folder_is_no_file_for_answers(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(BadInput, match="is a folder"):
        check_format(tmp_path / "folder.csv")
