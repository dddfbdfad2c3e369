"""digits | cifar10 | a folder or zip of class folders -> labelled uint8 images, decoded once and cached.

`check_source` looks without decoding, `prepare` builds or reuses the decoded data set, `load` opens
it elsewhere. The rules for folders are in `app.dataset_layout`, the files in `app.dataset_cache`.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import json
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app import builtin_datasets as builtin
from app.atomic_folder import building
from app.builtin_datasets import ArraySplit
from app.dataset_cache import FORMAT_VERSION, Card, Dataset, Split, SplitWriter, combined_digest, load, write_card
from app.dataset_decoding import (
    BadFile,
    DecodedBlock,
    Decoder,
    blocks_of,
    choose_input_size,
    decode_with_threads,
    enlarged,
)
from app.dataset_layout import DRAW_RULE, SPLITS, Layout, SplitName, read_layout
from app.dataset_source import list_source
from app.errors import BadDataset, BadInput
from app.imaging import RESIZE_RULE, resize

__all__ = ["BadFile", "Dataset", "Decoder", "SourceSummary", "Split", "check_source", "load", "prepare"]

MAX_IMAGE_SIZE = 1024
"""Largest input side in pixels that can be asked for."""

_REPORT_EVERY_S = 2.0
_ARRAY_BLOCK = 1024


@dataclass(frozen=True, slots=True)
class SourceSummary:
    """What a source holds, before anything is decoded: class names, and images by split."""

    name: str
    labels: tuple[str, ...]
    counts: Mapping[SplitName, int]

    @property
    def total(self) -> int:
        return sum(self.counts.values())


def check_source(source: str) -> SourceSummary:
    """Class names and image counts of `digits`, `cifar10`, a folder or a zip. Opens no image.

    Raises BadDataset with one line that says what is wrong with the source.
    """
    if source == "digits":
        return SourceSummary(source, builtin.DIGIT_LABELS, builtin.DIGIT_COUNTS)
    if source == "cifar10":
        return SourceSummary(source, builtin.CIFAR10_LABELS, builtin.CIFAR10_COUNTS)
    listing = list_source(Path(source))
    layout = read_layout(listing)
    return SourceSummary(listing.name, layout.labels, {split: len(layout.splits[split]) for split in SPLITS})


def prepare(
    source: str,
    *,
    cache: Path,
    image_size: int | None = None,
    max_bad: float = 0.01,
    decoder: Decoder | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Dataset:
    """Builds the decoded data set below `cache`, or opens the one that is there.

    image_size: side of the square model input in pixels; None takes what suits the images.
    max_bad: share of files, 0 to 1, that may be unreadable; they are left out and listed in `skipped`.
    Raises BadDataset, and leaves nothing behind, when the source is unusable or too much of it is bad.
    """
    if image_size is not None and not 1 <= image_size <= MAX_IMAGE_SIZE:
        raise BadInput(f"image size must be from 1 to {MAX_IMAGE_SIZE} pixels, not {image_size}")
    plan = _plan(source, cache=cache, image_size=image_size, decoder=decoder or decode_with_threads)
    target = cache / f"{re.sub(r'[^A-Za-z0-9_.]+', '-', plan.name)[:40]}-{plan.fingerprint[:16]}"
    dataset = _reusable(target)
    if dataset is None:
        with building(target) as folder:
            _write(plan, folder, max_bad, progress)
        dataset = load(target)
    _check_bad_share(len(dataset.skipped), plan.total, max_bad, dataset.skipped)
    return dataset


@dataclass(frozen=True, slots=True)
class _Plan:
    """Everything that is known of a data set before it is decoded."""

    name: str
    fingerprint: str
    labels: tuple[str, ...]
    counts: Mapping[SplitName, int]
    open: Callable[[], _Opened]

    @property
    def total(self) -> int:
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class _Opened:
    input_size: tuple[int, int]
    blocks: Mapping[SplitName, Iterable[DecodedBlock]]
    """To be taken in the order of SPLITS."""


def _plan(source: str, *, cache: Path, image_size: int | None, decoder: Decoder) -> _Plan:
    settings = [FORMAT_VERSION, RESIZE_RULE, image_size]
    if source in ("digits", "cifar10"):
        summary = check_source(source)
        arrays = functools.partial(_builtin_arrays, source, cache)
        opener = functools.partial(_open_arrays, arrays, image_size)
        return _Plan(source, _fingerprint(source, settings), summary.labels, summary.counts, opener)
    listing = list_source(Path(source))
    layout = read_layout(listing)
    files = [(file.name, file.size, file.stamp) for file in listing.files]
    return _Plan(
        listing.name,
        _fingerprint([str(listing.path.resolve()), files], [*settings, DRAW_RULE]),
        layout.labels,
        {split: len(layout.splits[split]) for split in SPLITS},
        functools.partial(_open_files, layout, image_size, decoder),
    )


def _fingerprint(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _builtin_arrays(source: str, cache: Path) -> dict[SplitName, ArraySplit]:
    return builtin.digits() if source == "digits" else builtin.cifar10(cache / "downloads")


def _open_arrays(arrays: Callable[[], dict[SplitName, ArraySplit]], image_size: int | None) -> _Opened:
    splits = arrays()
    height, width = (image_size, image_size) if image_size else enlarged(*splits["train"].images.shape[1:3])
    return _Opened((height, width), {name: _array_blocks(split, height, width) for name, split in splits.items()})


def _array_blocks(split: ArraySplit, height: int, width: int) -> Iterator[DecodedBlock]:
    for start in range(0, len(split.labels), _ARRAY_BLOCK):
        images = split.images[start : start + _ARRAY_BLOCK]
        resized = np.stack([resize(image, height, width) for image in images])
        yield DecodedBlock(resized, split.labels[start : start + _ARRAY_BLOCK])


def _open_files(layout: Layout, image_size: int | None, decoder: Decoder) -> _Opened:
    every = [item for split in SPLITS for item in layout.splits[split]]
    height, width = (image_size, image_size) if image_size else choose_input_size(every)
    blocks = {split: blocks_of(layout.splits[split], height, width) for split in SPLITS}
    # One stream for all splits: a decoder that has workers to start starts them once.
    stream = decoder(list(itertools.chain.from_iterable(blocks.values())), height, width)
    taken: dict[SplitName, int | None] = {split: len(blocks[split]) for split in SPLITS}
    taken[SPLITS[-1]] = None  # all that is left, so that the decoder comes to its end
    return _Opened((height, width), {split: itertools.islice(stream, count) for split, count in taken.items()})


def _reusable(target: Path) -> Dataset | None:
    """The finished data set, if it is there. A damaged one is removed, to be built again."""
    if not target.exists():
        return None
    try:
        return load(target)
    except BadDataset:
        shutil.rmtree(target) if target.is_dir() else target.unlink()
        return None


def _write(plan: _Plan, folder: Path, max_bad: float, progress: Callable[[str], None]) -> None:
    progress(f"{plan.name}: decoding {plan.total:,} images of {len(plan.labels)} classes")
    opened = plan.open()
    skipped: list[BadFile] = []
    digests = []
    for split in SPLITS:
        with contextlib.closing(SplitWriter(folder, split, opened.input_size, plan.counts[split])) as writer:
            for block in _reported(opened.blocks[split], f"{plan.name}: {split}", plan.counts[split], progress):
                writer.append(block)
                skipped.extend(block.bad)
                _check_bad_share(len(skipped), plan.total, max_bad, skipped)
            labels, digest = writer.finish()
        _check_classes(split, labels, plan.labels)
        digests.append(digest)
    card = Card(
        name=plan.name,
        digest=combined_digest(plan.labels, digests),
        labels=plan.labels,
        input_size=opened.input_size,
        mirror_ok=not set(plan.labels) <= set(builtin.DIGIT_LABELS),
        skipped=tuple(skipped),
    )
    write_card(folder, card)


def _reported(
    blocks: Iterable[DecodedBlock], title: str, total: int, progress: Callable[[str], None]
) -> Iterator[DecodedBlock]:
    done, reported = 0, time.monotonic()
    for block in blocks:
        done += len(block.labels) + len(block.bad)
        if time.monotonic() - reported > _REPORT_EVERY_S:
            progress(f"{title} {done:,} of {total:,} images")
            reported = time.monotonic()
        yield block


def _check_bad_share(bad: int, total: int, max_bad: float, skipped: Iterable[BadFile]) -> None:
    if bad > max_bad * total:
        named = "; ".join(f"{file.path} ({file.reason})" for file in list(skipped)[:3])
        raise BadDataset(f"{bad} of {total} files are unreadable, more than {max_bad:.1%} allowed: {named}")


def _check_classes(split: SplitName, labels: np.ndarray, names: tuple[str, ...]) -> None:
    """Training needs every class, the other splits at least one image, after bad files were left out."""
    present = np.bincount(labels, minlength=len(names))
    if split == "train" and not present.all():
        raise BadDataset(f"class {names[int(present.argmin())]!r} has no readable image left for training")
    if not len(labels):
        raise BadDataset(f"no readable image is left in {split}")
