"""Preparing data sets: what comes out, what is cached, what is left out, and what two builders do."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from app import datasets
from app.dataset_decoding import DecodedBlock, decode_with_threads
from app.dataset_layout import Item
from app.datasets import load, prepare
from app.errors import BadDataset, BadInput
from app.imaging import decode, encode_png, resize
from tests.app.image_trees import class_files, entries, png, write_tree, write_zip


def all_images(dataset: datasets.Dataset) -> np.ndarray:
    return np.concatenate([dataset.train.images, dataset.val.images, dataset.test.images])


def refused_to_decode(*_: object) -> Iterator[DecodedBlock]:
    raise AssertionError("decoded although it is cached")


def test_a_flat_folder_is_split_by_class(flat: Path, cache: Path) -> None:
    dataset = prepare(str(flat), cache=cache)
    assert dataset.labels == ("cat", "dog")
    assert dataset.input_size == (16, 16)
    assert dataset.mirror_ok
    assert [np.bincount(split.labels).tolist() for split in (dataset.train, dataset.val, dataset.test)] == [
        [14, 7],
        [2, 1],
        [4, 2],
    ]
    assert len(np.unique(all_images(dataset).reshape(30, -1), axis=0)) == 30


def test_pixels_and_labels_are_those_of_the_files(tmp_path: Path, cache: Path) -> None:
    files = class_files("train/", {"a": 6, "b": 6}) | class_files("val/", {"a": 2}) | class_files("test/", {"b": 3})
    dataset = prepare(str(write_tree(tmp_path / "data", files)), cache=cache)
    for split_name in ("train", "val", "test"):
        names = sorted(name for name in files if name.startswith(split_name))
        split = getattr(dataset, split_name)
        assert split.labels.tolist() == [0 if "/a/" in name else 1 for name in names]
        assert (split.images == np.stack([decode(files[name]) for name in names])).all()
        assert split.labels.dtype == np.int64


def test_images_are_a_read_only_map(flat: Path, cache: Path) -> None:
    dataset = prepare(str(flat), cache=cache)
    assert isinstance(dataset.train.images, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        dataset.train.images[0] = 0
    with pytest.raises(ValueError, match="read-only"):
        dataset.train.labels[0] = 1


def test_folder_and_zips_have_the_same_digest(flat: Path, tmp_path: Path, cache: Path) -> None:
    files = {path.relative_to(flat).as_posix(): path.read_bytes() for path in flat.rglob("*.png")}
    zips = [
        write_zip(tmp_path / "deflated.zip", files),
        write_zip(tmp_path / "stored.zip", files, method=0),
        write_zip(tmp_path / "wrapped.zip", {f"pets/{name}": data for name, data in files.items()}),
    ]
    digests = {prepare(str(source), cache=cache).digest for source in (flat, *zips)}
    assert len(digests) == 1


@pytest.mark.parametrize("change", ["pixel", "label", "class name", "split"])
def test_the_digest_sees_every_change(change: str, tmp_path: Path, cache: Path) -> None:
    files = class_files("train/", {"a": 5, "b": 5}) | class_files("val/", {"a": 3, "b": 3})
    files |= class_files("test/", {"a": 3, "b": 3})
    before = prepare(str(write_tree(tmp_path / "before", files)), cache=cache)
    if change == "pixel":
        image = decode(files["val/a/00.png"]).copy()
        image[7, 7, 2] ^= 1
        files["val/a/00.png"] = encode_png(image)
    elif change == "label":
        files["train/a/99.png"] = files.pop("train/b/00.png")
    elif change == "class name":
        files = {name.replace("/b/", "/c/"): data for name, data in files.items()}
    else:
        files["val/b/99.png"] = files.pop("test/b/02.png")
    after = prepare(str(write_tree(tmp_path / "after", files)), cache=cache)
    assert after.digest != before.digest


def test_the_second_time_nothing_is_decoded(flat: Path, cache: Path) -> None:
    first = prepare(str(flat), cache=cache)
    second = prepare(str(flat), cache=cache, decoder=refused_to_decode)
    assert (second.folder, second.digest) == (first.folder, first.digest)


def test_another_size_is_another_entry(flat: Path, cache: Path) -> None:
    first = prepare(str(flat), cache=cache)
    second = prepare(str(flat), cache=cache, image_size=24)
    assert second.folder != first.folder
    assert second.digest != first.digest


def test_a_changed_file_is_decoded_again(flat: Path, cache: Path) -> None:
    first = prepare(str(flat), cache=cache)
    (flat / "cat" / "00.png").write_bytes(png(424242))
    assert prepare(str(flat), cache=cache).digest != first.digest


def test_a_zip_changed_within_its_sizes_is_decoded_again(tmp_path: Path, cache: Path) -> None:
    files = {
        f"{label}/{n}.bmp": cv2.imencode(".bmp", np.full((16, 16, 3), n))[1].tobytes()
        for label in "ab"
        for n in range(5)
    }
    first = prepare(str(write_zip(tmp_path / "data.zip", files, method=0)), cache=cache)
    files["a/0.bmp"] = cv2.imencode(".bmp", np.full((16, 16, 3), 99))[1].tobytes()
    assert prepare(str(write_zip(tmp_path / "data.zip", files, method=0)), cache=cache).digest != first.digest


def test_image_size_is_obeyed(flat: Path, cache: Path) -> None:
    small, large = prepare(str(flat), cache=cache), prepare(str(flat), cache=cache, image_size=20)
    assert large.input_size == (20, 20)
    assert (large.train.images[3] == resize(np.array(small.train.images[3]), 20, 20)).all()


@pytest.mark.parametrize("size", [0, -3, 5000])
def test_absurd_image_sizes_are_refused(flat: Path, cache: Path, size: int) -> None:
    with pytest.raises(BadInput, match="image size"):
        prepare(str(flat), cache=cache, image_size=size)


def test_load_gives_the_same_data_set(flat: Path, cache: Path) -> None:
    (flat / "cat" / "broken.jpg").write_bytes(b"nothing")
    built = prepare(str(flat), cache=cache, max_bad=0.1)
    opened = load(built.folder)
    assert (opened.name, opened.digest, opened.labels, opened.skipped) == (
        "pets",
        built.digest,
        built.labels,
        built.skipped,
    )
    assert (opened.test.images == built.test.images).all()


@pytest.mark.parametrize("damage", ["missing", "card", "cut", "other labels"])
def test_load_refuses_a_damaged_entry_and_prepare_repairs_it(flat: Path, cache: Path, damage: str) -> None:
    built = prepare(str(flat), cache=cache)
    if damage == "missing":
        (built.folder / "dataset.json").unlink()
    elif damage == "card":
        (built.folder / "dataset.json").write_text('{"name": 1}')
    elif damage == "cut":
        os.truncate(built.folder / "val.images.npy", 300)
    else:
        np.save(built.folder / "val.labels.npy", np.zeros(1, np.int64))
    with pytest.raises(BadDataset):
        load(built.folder)
    assert prepare(str(flat), cache=cache).digest == built.digest


def test_bad_files_are_left_out_and_reported(flat: Path, cache: Path) -> None:
    clean = prepare(str(flat), cache=cache)
    (flat / "cat" / "zz_not.jpg").write_text("not an image")
    (flat / "dog" / "zz_cut.png").write_bytes(png(1)[:-20])
    dataset = prepare(str(flat), cache=cache, max_bad=0.1)
    assert sorted(bad.path for bad in dataset.skipped) == ["cat/zz_not.jpg", "dog/zz_cut.png"]
    assert any("cut off" in bad.reason for bad in dataset.skipped)
    assert len(all_images(dataset)) == len(all_images(clean)) == 30
    assert all(bad.path in (dataset.folder / "skipped.txt").read_text() for bad in dataset.skipped)


def test_too_many_bad_files_leave_nothing_behind(flat: Path, cache: Path) -> None:
    for number in range(3):
        (flat / "dog" / f"bad{number}.png").write_bytes(b"?")
    with pytest.raises(BadDataset, match=r"of 33 files are unreadable.*dog/bad\d\.png \(not a JPEG"):
        prepare(str(flat), cache=cache)
    assert entries(cache) == []


def test_the_limit_holds_for_a_cached_data_set_too(flat: Path, cache: Path) -> None:
    (flat / "dog" / "bad.png").write_bytes(b"?")
    prepare(str(flat), cache=cache, max_bad=0.5)
    with pytest.raises(BadDataset, match="unreadable"):
        prepare(str(flat), cache=cache, max_bad=0.01)


def test_a_class_with_only_bad_training_images_is_named(tmp_path: Path, cache: Path) -> None:
    files = class_files("train/", {"a": 9}) | {f"train/b/{n}.png": b"?" for n in range(4)}
    files |= class_files("val/", {"a": 2}) | class_files("test/", {"a": 2})
    with pytest.raises(BadDataset, match="class 'b' has no readable image"):
        prepare(str(write_tree(tmp_path / "data", files)), cache=cache, max_bad=0.9)
    assert entries(cache) == []


def test_memory_is_bounded_by_blocks(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every block is on disk before the next but few is decoded."""
    source = write_tree(tmp_path / "data", class_files("", {"a": 40, "b": 40}))
    monkeypatch.setattr("app.dataset_decoding._BLOCK_ITEMS", 4)
    written: list[int] = []

    def watched(blocks: Sequence[Sequence[Item]], height: int, width: int) -> Iterator[DecodedBlock]:
        assert max(map(len, blocks)) == 4
        for number, block in enumerate(decode_with_threads(blocks, height, width)):
            (folder,) = cache.glob(".building-*")
            written.append(sum(path.stat().st_size for path in folder.glob("*.images.npy")))
            assert number == 0 or len(block.images) <= 4
            yield block

    prepare(str(source), cache=cache, decoder=watched)
    assert len(written) > 15


def test_progress_names_the_data_set(flat: Path, cache: Path) -> None:
    lines: list[str] = []
    prepare(str(flat), cache=cache, progress=lines.append)
    assert "30 images of 2 classes" in lines[0]


def test_the_card_is_plain_json(flat: Path, cache: Path) -> None:
    card = json.loads((prepare(str(flat), cache=cache).folder / "dataset.json").read_text())
    assert card["name"] == "pets"
    assert card["labels"] == ["cat", "dog"]
    assert card["input_size"] == [16, 16]
