"""Choosing the input size, and decoding blocks in order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.dataset_decoding import blocks_of, choose_input_size, decode_block, decode_with_threads
from app.dataset_layout import Item
from app.dataset_source import list_source
from app.errors import BadDataset
from app.imaging import decode
from tests.app.image_trees import png, write_tree


def items_of(folder: Path, images: list[bytes]) -> list[Item]:
    write_tree(folder, {f"{number:03}.png": data for number, data in enumerate(images)})
    return [Item(file, label=number) for number, file in enumerate(list_source(folder).files)]


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(8, 8)] * 3, (16, 16)),
        ([(1, 1)] * 3, (16, 16)),
        ([(9, 24)] * 3, (18, 48)),
        ([(16, 20)] * 3, (16, 20)),
        ([(1, 30)] * 3, (32, 32)),
        ([(28, 60)] * 3, (28, 60)),
        ([(224, 200)] * 3, (224, 200)),
        ([(225, 225)] * 3, (224, 224)),
        ([(8, 8), (8, 9)], (32, 32)),
        ([(90, 200), (300, 100), (110, 110)], (96, 96)),
        ([(500, 600), (700, 800)], (224, 224)),
        ([(40, 400)] * 3, (32, 32)),
    ],
)
def test_input_size(tmp_path: Path, sizes: list[tuple[int, int]], expected: tuple[int, int]) -> None:
    assert choose_input_size(items_of(tmp_path, [png(1, size) for size in sizes])) == expected


def test_bad_files_do_not_choose_the_size(tmp_path: Path) -> None:
    assert choose_input_size(items_of(tmp_path, [b"no", png(1), b"", png(2)])) == (16, 16)


def test_no_image_at_all(tmp_path: Path) -> None:
    with pytest.raises(BadDataset, match="none of the files"):
        choose_input_size(items_of(tmp_path, [b"no", b"neither"]))


def test_only_a_sample_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.dataset_decoding.SIZE_SAMPLE", 4)
    items = items_of(tmp_path, [png(1)] * 10)
    for unseen in items[1:3]:
        Path(unseen.file.path).write_bytes(png(1, (99, 99)))
    assert choose_input_size(items) == (16, 16)


def test_a_block_names_its_bad_files_and_keeps_the_rest(tmp_path: Path) -> None:
    block = decode_block(items_of(tmp_path, [png(0), b"no", png(2), png(3)[:-9]]), 16, 16)
    assert block.labels.tolist() == [0, 2]
    assert (block.images == np.stack([decode(png(0)), decode(png(2))])).all()
    assert [bad.path for bad in block.bad] == ["001.png", "003.png"]


def test_a_vanished_file_is_a_bad_file(tmp_path: Path) -> None:
    items = items_of(tmp_path, [png(0), png(1)])
    Path(items[0].file.path).unlink()
    (bad,) = decode_block(items, 16, 16).bad
    assert bad.reason == "cannot be read: No such file or directory"


def test_threads_keep_the_order(tmp_path: Path) -> None:
    items = items_of(tmp_path, [png(number) for number in range(60)])
    blocks = [items[start : start + 3] for start in range(0, 60, 3)]
    labels = [block.labels for block in decode_with_threads(blocks, 16, 16)]
    assert np.concatenate(labels).tolist() == list(range(60))


@pytest.mark.parametrize(("side", "expected"), [(32, 1024), (224, 111), (3000, 1)])
def test_blocks_are_a_few_megabytes(tmp_path: Path, side: int, expected: int) -> None:
    items = items_of(tmp_path, [png(0)]) * 1100
    blocks = blocks_of(items, side, side)
    assert len(blocks[0]) == expected
    assert sum(map(len, blocks)) == 1100
