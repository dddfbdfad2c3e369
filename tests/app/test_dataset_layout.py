"""Folders into classes and splits, and one clear line for every folder that is no data set."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from app.dataset_layout import SPLITS, SplitName, carve, ordered_labels, read_layout
from app.dataset_source import list_source
from app.datasets import check_source
from app.errors import BadDataset
from tests.app.image_trees import class_files, write_tree, write_zip

SPLIT_TREE = (
    class_files("train/", {"a": 20, "b": 30}) | class_files("val/", {"a": 2, "b": 3}) | class_files("test/", {"b": 4})
)


def complaint(source: Path) -> str:
    with pytest.raises(BadDataset) as caught:
        check_source(str(source))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_split_folders_are_counted(tmp_path: Path) -> None:
    summary = check_source(str(write_tree(tmp_path / "data", SPLIT_TREE)))
    assert (summary.name, summary.labels, summary.total) == ("data", ("a", "b"), 59)
    assert summary.counts == {"train": 50, "val": 5, "test": 4}


@pytest.mark.parametrize("as_zip", [False, True])
@pytest.mark.parametrize("wrapper", ["", "outer/"])
@pytest.mark.parametrize("prefix", ["train/", ""])
def test_the_same_tree_in_every_wrapping(tmp_path: Path, as_zip: bool, wrapper: str, prefix: str) -> None:
    files = class_files(wrapper + prefix, {"a": 20, "b": 30}) | {f"{wrapper}README.md": b"about"}
    write = write_zip if as_zip else write_tree
    summary = check_source(str(write(tmp_path / "data.zip", files)))
    assert summary.labels == ("a", "b")
    assert summary.counts == ({"train": 40, "val": 5, "test": 5} if prefix else {"train": 35, "val": 5, "test": 10})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("val", {"train": 45, "val": 5, "test": 5}),
        ("test", {"train": 45, "val": 5, "test": 4}),
    ],
)
def test_a_missing_split_is_carved_from_train(tmp_path: Path, given: str, expected: dict[str, int]) -> None:
    files = {name: data for name, data in SPLIT_TREE.items() if name.startswith(("train", given))}
    assert check_source(str(write_tree(tmp_path / "data", files))).counts == expected


def test_nothing_is_in_two_splits(tmp_path: Path) -> None:
    files = class_files("", {"a": 20, "b": 30})
    layout = read_layout(list_source(write_tree(tmp_path / "data", files)))
    names = [item.file.name for split in SPLITS for item in layout.splits[split]]
    assert sorted(names) == sorted(files)


def test_images_that_are_added_leave_the_others_in_their_splits(tmp_path: Path) -> None:
    """Or a successor would be tested on what its predecessor was trained on, and the other way round."""

    def splits(classes: dict[str, int]) -> dict[str, SplitName]:
        layout = read_layout(list_source(write_tree(tmp_path / "data", class_files("", classes))))
        return {item.file.name: split for split in SPLITS for item in layout.splits[split]}

    before = splits({"b": 400, "d": 9})
    after = splits({"a": 30, "b": 440, "c": 9, "d": 9})
    moved = sum(after[name] != split for name, split in before.items())
    assert moved <= 12, "only at the borders, of 409; a new draw moves almost half"
    assert sum(split == "test" and before.get(name) == "train" for name, split in after.items()) <= 6


def test_a_zip_is_split_like_the_folder_it_was_made_of(tmp_path: Path) -> None:
    folder = write_tree(tmp_path / "data", class_files("", {"a": 20, "b": 30}))
    packed = write_zip(tmp_path / "data.zip", class_files("photos/", {"a": 20, "b": 30}))
    one, other = (read_layout(list_source(path)) for path in (folder, packed))
    for split in SPLITS:
        names = [[item.file.name.rpartition("/")[2] for item in each.splits[split]] for each in (one, other)]
        assert names[0] == names[1]


def test_carving_is_stratified() -> None:
    labels = np.repeat([0, 1, 2], [1000, 100, 10])
    parts = carve(labels, ("x", "y", "z"), {"val": 0.1, "test": 0.2})
    assert {name: np.bincount(labels[indexes]).tolist() for name, indexes in parts.items()} == {
        "train": [700, 70, 7],
        "val": [100, 10, 1],
        "test": [200, 20, 2],
    }
    assert sorted(np.concatenate(list(parts.values()))) == list(range(1110))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["10", "2", "1"], ("1", "2", "10")),
        (["10", "2", "b"], ("10", "2", "b")),
        (["01", "1", "002"], ("01", "1", "002")),
        (["b", "A", "a"], ("A", "a", "b")),
        (["-1", "3", "10"], ("-1", "10", "3")),
    ],
)
def test_class_order(names: list[str], expected: tuple[str, ...]) -> None:
    assert ordered_labels(names) == expected


def test_clutter_is_ignored(tmp_path: Path) -> None:
    clutter = [".DS_Store", "a/.hidden.png", "a/Thumbs.db", "b/desktop.ini", ".git/x/y.png", "__MACOSX/a/._00.png"]
    files = class_files("", {"a": 10, "b": 10})
    for write in (write_tree, write_zip):
        summary = check_source(str(write(tmp_path / write.__name__, files | dict.fromkeys(clutter, b"x"))))
        assert (summary.labels, summary.total) == (("a", "b"), 20)


def test_subfolders_of_a_class_belong_to_it(tmp_path: Path) -> None:
    files = class_files("a/", {"2023": 3, "2024": 3}) | class_files("", {"b": 5})
    summary = check_source(str(write_tree(tmp_path / "data", files)))
    assert (summary.labels, summary.total) == (("a", "b"), 11)


def test_links_are_followed_but_not_in_a_circle(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "data", class_files("", {"a": 5, "b": 5}))
    (root / "c").symlink_to(write_tree(tmp_path / "elsewhere", class_files("", {"x": 5})) / "x")
    (root / "a" / "up").symlink_to(root)
    (root / "a" / "dangling.png").symlink_to(tmp_path / "nowhere")
    summary = check_source(str(root))
    assert (summary.labels, summary.total) == (("a", "b", "c"), 15)


def test_a_missing_path(tmp_path: Path) -> None:
    assert "does not exist" in complaint(tmp_path / "nothing")


def test_a_file_that_is_no_zip(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    assert "not a zip file" in complaint(path)


@pytest.mark.parametrize(
    ("files", "folders", "expected"),
    [
        ({}, [], "holds no class folders"),
        ({"1.png": b"x", "2.png": b"x"}, [], "holds no class folders"),
        ({"train/1.png": b"x"}, [], "train holds no class folders"),
        (class_files("", {"a": 9, "b": 9}), ["c"], "c is a class folder without images"),
        (class_files("train/", {"a": 9, "b": 9}), ["val/a"], "val/a is a class folder without images"),
        (class_files("train/", {"a": 9, "b": 9}), ["test"], "test holds no class folders"),
        (class_files("", {"a": 9}), [], "only one class ('a')"),
        (class_files("train/", {"a": 9}), [], "only one class ('a')"),
        (class_files("val/", {"a": 9, "b": 9}), [], "has val but no train folder"),
        (class_files("train/", {"a": 9, "b": 9}) | class_files("val/", {"c": 2}), [], "val has a class 'c'"),
        (class_files("train/", {"a": 9, "b": 9}) | class_files("valid/", {"a": 2}), [], "'valid' beside 'train'"),
        (class_files("train/", {"a": 9, "b": 9}) | class_files("Test/", {"a": 2}), [], "'Test' beside 'train'"),
        (class_files("Train/", {"a": 9, "b": 9}) | class_files("Test/", {"a": 2}), [], "'Test' beside 'Train'"),
        (class_files("Training/", {"a": 9}) | class_files("Testing/", {"a": 2}), [], "'Testing' beside 'Training'"),
        (class_files("", {"a": 9, "b": 2}), [], "class 'b' has 2 images; at least 3 are needed"),
        (class_files("", {"a": 9, "b": 1}), [], "class 'b' has 1 image; at least 3"),
        (SPLIT_TREE | class_files("train/", {"c": 0}), ["train/c"], "train/c is a class folder without images"),
    ],
)
def test_folders_that_are_no_data_set(
    tmp_path: Path, files: dict[str, bytes], folders: list[str], expected: str
) -> None:
    root = write_tree(tmp_path / "data", files)
    for folder in folders:
        (root / folder).mkdir(parents=True)
    assert expected in complaint(root)


def test_a_class_may_be_named_like_a_split(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "data", class_files("", {"training": 9, "running": 9}))
    assert check_source(str(root)).labels == ("running", "training")


def test_names_are_the_same_whichever_way_accents_are_written(tmp_path: Path) -> None:
    """macOS has them as letters and marks, others as one character."""
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    files = class_files("train/", {composed: 9, "b": 9}) | class_files("test/", {decomposed: 1})
    assert check_source(str(write_tree(tmp_path / "data", files))).labels == ("b", composed)


def test_with_all_splits_given_one_image_of_a_class_is_enough(tmp_path: Path) -> None:
    files = class_files("train/", {"a": 1, "b": 1}) | class_files("val/", {"a": 1}) | class_files("test/", {"b": 1})
    assert check_source(str(write_tree(tmp_path / "data", files))).total == 4


def test_a_class_name_that_is_not_text(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "data", class_files("", {"a": 9, "b\udcff": 9}))
    assert "not valid UTF-8" in complaint(root)
