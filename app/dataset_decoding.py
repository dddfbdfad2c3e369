"""Items -> decoded blocks: the one function that decodes a block, and the thread pool that runs it.

A `Decoder` takes blocks of items and yields decoded images in the same order. The default one uses the
threads of this process (OpenCV releases the GIL); `train_jobs.ingest` has one that uses a Ray cluster.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from app.cores import usable_cores
from app.dataset_layout import Item
from app.errors import BadDataset, BadImage
from app.imaging import load, read_header

SIZE_SAMPLE = 256
"""Images whose headers decide the input size."""
MIN_SIDE, MAX_SIDE, SIDE_STEP = 32, 224, 32
"""Pixels: bounds and rounding of an input size that is not simply the size of all images."""
TINY_SIDE = 16
"""Pixels: smaller images are enlarged, because networks halve their input three times and more. Digits of
8x8 are answered right 98.6 % of the time as they are (60 epochs), 99.3 % at 16x16 (40; means over 5 seeds)."""

_HEAD_BYTES = 256 * 1024
"""Enough to pass the metadata that cameras write in front of the size."""
_BLOCK_BYTES = 16 * 2**20
_BLOCK_ITEMS = 1024
"""Of tiny images: a tenth of a second of decoding, beside which 20 ms for the task that does it are little."""


@dataclass(frozen=True, slots=True)
class BadFile:
    """A file that was left out, by its name inside the source, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class DecodedBlock:
    """images: uint8 [n, H, W, 3] RGB. labels: int64 [n]. Bad files are named, and have no row."""

    images: np.ndarray
    labels: np.ndarray
    bad: tuple[BadFile, ...] = ()


Decoder = Callable[[Sequence[Sequence[Item]], int, int], Iterator[DecodedBlock]]
"""(blocks of items, height, width) -> one decoded block for each, in the same order."""


def decode_block(items: Sequence[Item], height: int, width: int) -> DecodedBlock:
    """Reads, decodes and resizes items. Raises BadDataset when their zip is hostile."""
    images = np.empty((len(items), height, width, 3), np.uint8)
    labels: list[int] = []
    bad: list[BadFile] = []
    for item in items:
        try:
            images[len(labels)] = load(item.file.read(), height, width)
            labels.append(item.label)
        except BadImage as error:
            bad.append(BadFile(item.file.name, str(error)))
    return DecodedBlock(images[: len(labels)], np.array(labels, np.int64), tuple(bad))


def decode_with_threads(blocks: Sequence[Sequence[Item]], height: int, width: int) -> Iterator[DecodedBlock]:
    """The default Decoder: one thread a core, and no more than two decoded blocks a thread in memory."""
    threads = usable_cores()
    pending: deque[Future[DecodedBlock]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        try:
            for block in blocks:
                pending.append(pool.submit(decode_block, block, height, width))
                if len(pending) > 2 * threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def blocks_of(items: Sequence[Item], height: int, width: int) -> list[Sequence[Item]]:
    """Cuts items into blocks of a few megabytes decoded."""
    size = max(1, min(_BLOCK_ITEMS, _BLOCK_BYTES // (height * width * 3)))
    return [items[start : start + size] for start in range(0, len(items), size)]


def choose_input_size(items: Sequence[Item]) -> tuple[int, int]:
    """(height, width) that suits the images, from the headers of an evenly spread sample.

    The common size (see `enlarged`) when there is one and no side is above MAX_SIDE; otherwise a square of the
    median short side, rounded to SIDE_STEP within MIN_SIDE to MAX_SIDE. Raises BadDataset when no header can be read.
    """
    sizes = [size for item in _spread(items, SIZE_SAMPLE) if (size := _stored_size(item)) is not None]
    if not sizes:
        raise BadDataset(f"none of the files looked at is an image (for example {items[0].file.name})")
    if len(set(sizes)) == 1 and max(common := enlarged(*sizes[0])) <= MAX_SIDE:
        return common
    short_side = float(np.median([min(size) for size in sizes]))
    side = int(np.clip(round(short_side / SIDE_STEP) * SIDE_STEP, MIN_SIDE, MAX_SIDE))
    return side, side


def enlarged(height: int, width: int) -> tuple[int, int]:
    """The smallest whole multiple of a size whose short side has at least TINY_SIDE pixels."""
    factor = -(-TINY_SIDE // min(height, width))
    return height * factor, width * factor


def _spread(items: Sequence[Item], count: int) -> list[Item]:
    indexes = np.linspace(0, len(items) - 1, min(count, len(items))).astype(int)
    return [items[index] for index in indexes]


def _stored_size(item: Item) -> tuple[int, int] | None:
    try:
        header = read_header(item.file.read(limit=_HEAD_BYTES))
    except BadImage:
        return None  # counted as a bad file later, if it is one
    return header.height, header.width
