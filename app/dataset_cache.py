"""A decoded data set on disk, and in memory.

    <cache>/<name>-<fingerprint>/
        train.images.npy   uint8 [N, H, W, 3] RGB       train.labels.npy   int64 [N]
        val.*  test.*      the same
        dataset.json       name, digest, class names, input size, what was skipped
        skipped.txt        the files left out and why, only when there are any

A folder under its final name is always complete: see `app.atomic_folder`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from app.dataset_decoding import BadFile, DecodedBlock
from app.dataset_layout import SPLITS
from app.errors import BadDataset

CARD_FILE = "dataset.json"
SKIPPED_FILE = "skipped.txt"
FORMAT_VERSION = 1
"""Part of every fingerprint: raise it when what is written changes."""


@dataclass(frozen=True, slots=True)
class Split:
    """images: uint8 [N, H, W, 3] RGB, a read-only map of the cached file. labels: int64 [N]."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A labelled data set, decoded and resized."""

    name: str
    digest: str
    """sha256 over arrays, labels and class names: equal content, equal digest, wherever it came from."""
    labels: tuple[str, ...]
    input_size: tuple[int, int]
    """Height, width in pixels."""
    train: Split
    val: Split
    test: Split
    mirror_ok: bool
    """Whether a mirrored image still shows its class; not so for digits."""
    folder: Path
    skipped: tuple[BadFile, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What `dataset.json` holds."""

    name: str
    digest: str
    labels: tuple[str, ...]
    input_size: tuple[int, int]
    mirror_ok: bool
    skipped: tuple[BadFile, ...]
    format_version: int = FORMAT_VERSION

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Card:
        height, width = values["input_size"]
        skipped = tuple(BadFile(**bad) for bad in values["skipped"])
        return cls(**{**values, "labels": tuple(values["labels"]), "input_size": (height, width), "skipped": skipped})


class SplitWriter:
    """Writes one split block by block, so that the whole of it is never in memory."""

    def __init__(self, folder: Path, split: str, input_size: tuple[int, int], expected: int) -> None:
        self._folder, self._split, self._shape = folder, split, (*input_size, 3)
        self._file: BinaryIO = (folder / f"{split}.images.npy").open("wb+")
        self._labels: list[np.ndarray] = [np.empty(0, np.int64)]
        self._sha256 = hashlib.sha256()
        self._write_header(expected)
        self._header_bytes = self._file.tell()

    def append(self, block: DecodedBlock) -> None:
        pixels = np.ascontiguousarray(block.images).data
        self._file.write(pixels)
        self._sha256.update(pixels)
        self._labels.append(block.labels)

    def finish(self) -> tuple[np.ndarray, str]:
        """Completes both files. Returns the labels, int64 [N], and the split's digest."""
        labels = np.concatenate(self._labels)
        self._file.seek(0)
        self._write_header(len(labels))  # fewer than expected when files were skipped
        if self._file.tell() != self._header_bytes:
            raise AssertionError("NumPy no longer pads the header of a .npy file for a growing first axis")
        self.close()
        np.save(self._folder / f"{self._split}.labels.npy", labels)
        self._sha256.update(labels.astype("<i8").tobytes())
        return labels, f"{self._split}:{len(labels)}:{self._shape}:{self._sha256.hexdigest()}"

    def close(self) -> None:
        self._file.close()

    def _write_header(self, count: int) -> None:
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, *self._shape)}
        np.lib.format.write_array_header_1_0(self._file, header)


def combined_digest(labels: tuple[str, ...], split_digests: list[str]) -> str:
    return hashlib.sha256(json.dumps([labels, split_digests]).encode()).hexdigest()


def write_card(folder: Path, card: Card) -> None:
    text = json.dumps(dataclasses.asdict(card), indent=2, ensure_ascii=False)
    (folder / CARD_FILE).write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
    if card.skipped:
        lines = "".join(f"{bad.path}\t{bad.reason}\n" for bad in card.skipped)
        (folder / SKIPPED_FILE).write_text(lines, encoding="utf-8", errors="backslashreplace")


def load(folder: Path) -> Dataset:
    """Opens a cached data set without reading its pixels. Raises BadDataset when it is missing or damaged."""
    try:
        card = Card.from_dict(json.loads((folder / CARD_FILE).read_text(encoding="utf-8")))
        train, val, test = (_load_split(folder, split, card) for split in SPLITS)
    except FileNotFoundError as error:
        raise BadDataset(f"no decoded data set in {folder}") from error
    except (ValueError, KeyError, TypeError, OSError, AttributeError, EOFError) as error:
        raise BadDataset(f"the decoded data set in {folder} is damaged: {error}") from error
    if card.format_version != FORMAT_VERSION:
        raise BadDataset(f"the decoded data set in {folder} was written by another version of Manta")
    return Dataset(
        name=card.name,
        digest=card.digest,
        labels=card.labels,
        input_size=card.input_size,
        train=train,
        val=val,
        test=test,
        mirror_ok=card.mirror_ok,
        folder=folder,
        skipped=card.skipped,
    )


def _load_split(folder: Path, split: str, card: Card) -> Split:
    images = np.load(folder / f"{split}.images.npy", mmap_mode="r")
    labels = np.load(folder / f"{split}.labels.npy")
    labels.flags.writeable = False
    if images.shape != (len(labels), *card.input_size, 3) or images.dtype != np.uint8 or labels.dtype != np.int64:
        raise ValueError(f"{split} has images {images.dtype} {images.shape} for {len(labels)} labels")
    if len(labels) == 0 or labels.min() < 0 or labels.max() >= len(card.labels):
        raise ValueError(f"{split} has labels outside of its {len(card.labels)} classes")
    return Split(images, labels)
