"""Which file belongs to which class and split: `train/<class>/*`, or only `<class>/*`.

Splits that are missing are carved from the training images, class by class, by a draw of each file's name that is
always the same: two models, however they were trained, are tested on images that neither of them has seen.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from app.dataset_source import Listing, SourceFile
from app.errors import BadDataset

SplitName = Literal["train", "val", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "val", "test")

FLAT_SHARES: dict[SplitName, float] = {"val": 0.1, "test": 0.2}
"""Shares of all images when a source has no split folders; the other 70 % are for training."""
DRAW_RULE = "by name"
"""Part of what a cached dataset is found by: another way to draw makes others of the same files."""
CARVED_SHARE = 0.1
"""Share of `train/` that stands in for a missing `val/`, and again for a missing `test/`."""
SPLIT_SEED = 0

_LIKE_SPLITS = frozenset({"train", "training", "val", "valid", "validation", "dev", "eval", "test", "testing"})


class Item(NamedTuple):
    """One image and its class, an index into `Layout.labels`."""

    file: SourceFile
    label: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Class names, and every split's items ordered by class, then by file name."""

    labels: tuple[str, ...]
    splits: Mapping[SplitName, tuple[Item, ...]]

    @property
    def total(self) -> int:
        return sum(len(items) for items in self.splits.values())


def read_layout(listing: Listing) -> Layout:
    """Sorts files into classes and splits. Raises BadDataset when the folders do not make a data set."""
    files = {unicodedata.normalize("NFC", file.name): file for file in listing.files}
    folders = frozenset(unicodedata.normalize("NFC", name) for name in listing.folders)  # macOS has them decomposed
    tree = _unwrapped(_Tree(files, folders, str(listing.path)))
    top = tree.children()
    if not top:
        raise BadDataset(f"{listing.path} holds no class folders (expected train/<class>/* or <class>/*)")
    if "train" not in top and top <= {"val", "test"}:
        raise BadDataset(f"{listing.path} has {' and '.join(sorted(top))} but no train folder")
    like_splits = sorted(name for name in top if name.casefold() in _LIKE_SPLITS)
    wrong = [name for name in like_splits if name not in SPLITS]
    if wrong and len(like_splits) > 1:  # one alone may be a class
        beside = next(name for name in like_splits if name != wrong[0])
        raise BadDataset(
            f"{listing.path} has a folder {wrong[0]!r} beside {beside!r} (the names read are train, val and test)"
        )
    return _split_layout(tree) if "train" in top else _flat_layout(tree)


def ordered_labels(names: Sequence[str]) -> tuple[str, ...]:
    """Class names sorted; as numbers (1, 2, 10) when every one of them is a whole number."""
    if all(name.isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def carve(
    labels: np.ndarray,
    names: Sequence[str],
    shares: Mapping[SplitName, float],
    *,
    keys: Sequence[str] | None = None,
) -> dict[SplitName, np.ndarray]:
    """Draws a share of every class for each split in `shares`; the rest is `train`.

    labels: int64 [N] indexes into `names`. Returns sorted indexes, int64. Every class gives each split
    at least one image. Raises BadDataset for a class with too few.

    keys: N texts that each image's place follows from, such as the names of their files. Images that are added later
    then leave nearly all others in their splits: what a model was trained on does not test its successor.
    """
    parts: dict[SplitName, list[np.ndarray]] = {"train": [], **{split: [] for split in shares}}
    for label, name in enumerate(names):
        members = np.flatnonzero(labels == label)
        if keys is None:
            members = np.random.default_rng([SPLIT_SEED, label]).permutation(members)
        else:
            members = members[np.argsort([_place(keys[index]) for index in members.tolist()], kind="stable")]
        total = len(members)
        if total <= len(shares):
            raise BadDataset(
                f"class {name!r} has {total} image{'s' if total != 1 else ''}; "
                f"at least {len(shares) + 1} are needed to give {', '.join(parts)} one each"
            )
        for split, share in shares.items():
            count = max(1, round(total * share))
            parts[split].append(members[:count])
            members = members[count:]
        parts["train"].append(members)
    return {split: np.sort(np.concatenate(drawn)) for split, drawn in parts.items()}


def _place(key: str) -> float:
    """From 0 to 1, by chance, and the same whenever it is asked for."""
    digest = hashlib.blake2b(f"{SPLIT_SEED}/{key}".encode(errors="surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


@dataclass(frozen=True, slots=True)
class _Tree:
    """Files by their name below a root folder, and all folder names below it."""

    files: Mapping[str, SourceFile]
    folders: frozenset[str]
    title: str

    def children(self) -> set[str]:
        return {folder for folder in self.folders if "/" not in folder}

    def below(self, folder: str) -> _Tree:
        prefix = f"{folder}/"
        return _Tree(
            {name.removeprefix(prefix): file for name, file in self.files.items() if name.startswith(prefix)},
            frozenset(name.removeprefix(prefix) for name in self.folders if name.startswith(prefix)),
            f"{self.title}/{folder}",
        )


def _unwrapped(tree: _Tree) -> _Tree:
    """Steps into the one folder that is around everything, if there is one."""
    top = tree.children()
    if len(top) != 1 or top <= set(SPLITS):
        return tree
    inner = tree.below(*top)
    return inner if inner.children() else tree


def _classes(tree: _Tree) -> dict[str, list[SourceFile]]:
    """Files by class folder, subfolders of a class included. Raises BadDataset for a class without any."""
    classes: dict[str, list[SourceFile]] = {name: [] for name in ordered_labels(sorted(tree.children()))}
    if not classes:
        raise BadDataset(f"{tree.title} holds no class folders")
    for name, file in tree.files.items():
        label, slash, _ = name.partition("/")
        if slash:
            classes[label].append(file)
    for label, files in classes.items():
        if not label.isprintable():
            raise BadDataset(
                f"{tree.title} has a class folder {label!r}, whose name is not valid UTF-8 or not printable"
            )
        if not files:
            raise BadDataset(f"{tree.title}/{label} is a class folder without images")
    return classes


def _is_text(name: str) -> bool:
    """False for a file name of undecodable bytes, which no JSON, model or page could show."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _training_classes(tree: _Tree) -> dict[str, list[SourceFile]]:
    classes = _classes(tree)
    if len(classes) < 2:
        raise BadDataset(f"{tree.title} has only one class ({next(iter(classes))!r}); at least two are needed")
    return classes


def _items(classes: Mapping[str, Sequence[SourceFile]], labels: Sequence[str]) -> tuple[Item, ...]:
    return tuple(Item(file, index) for index, label in enumerate(labels) for file in classes.get(label, ()))


def _flat_layout(tree: _Tree) -> Layout:
    classes = _training_classes(tree)
    labels = tuple(classes)
    return Layout(labels, _carved(_items(classes, labels), labels, FLAT_SHARES))


def _split_layout(tree: _Tree) -> Layout:
    classes = _training_classes(tree.below("train"))
    labels, given = tuple(classes), {}
    for split in SPLITS[1:]:
        if split in tree.children():
            held_out = _classes(tree.below(split))
            unknown = [label for label in held_out if label not in classes]
            if unknown:
                raise BadDataset(f"{tree.title}/{split} has a class {unknown[0]!r} that train does not have")
            given[split] = _items(held_out, labels)
    missing = {split: CARVED_SHARE for split in SPLITS[1:] if split not in given}
    parts = _carved(_items(classes, labels), labels, missing) | given
    return Layout(labels, {split: parts[split] for split in SPLITS})


def _carved(
    items: tuple[Item, ...], labels: tuple[str, ...], shares: Mapping[SplitName, float]
) -> dict[SplitName, tuple[Item, ...]]:
    # Not the whole path, which differs between a folder and the zip made of it.
    keys = [f"{labels[item.label]}/{item.file.name.rpartition('/')[2]}" for item in items]
    parts = carve(np.array([item.label for item in items], np.int64), labels, shares, keys=keys)
    return {split: tuple(items[index] for index in indexes) for split, indexes in parts.items()}
