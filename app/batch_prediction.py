"""Answers to many image files: one row for each, also for those that cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.answers_file import Row
from app.dataset_source import IMAGE_SUFFIXES, SourceFile
from app.errors import BadDataset, BadImage
from app.evaluate import BATCH_PIXELS, LARGEST_BATCH, images_at_once
from app.imaging import load
from app.predictions import top_predictions

_SMALLEST_BLOCK, _LARGEST_BLOCK = 16, 512
"""One block is what a worker gets at a time: seconds of work for photographs, a tenth of one for thumbnails."""
_BLOCKS_EACH = 4
"""Of each worker, where there are enough images: so none waits long for the others at the end."""


@dataclass(frozen=True, slots=True)
class FilesClassifier:
    """What each worker does with a block of files."""

    predict: Callable[[np.ndarray], np.ndarray]
    """uint8 [N, H, W, 3] RGB to float32 [N, C]."""
    labels: Sequence[str]
    size: tuple[int, int]
    """Height and width of the input, in pixels."""
    top_k: int

    def __call__(self, files: Sequence[SourceFile]) -> list[Row]:
        """One row a file, in order. Raises BadDataset for a zip that turns out to be hostile."""
        at_once = images_at_once(self.size, largest=LARGEST_BATCH, pixels=BATCH_PIXELS)
        rows: list[Row] = []
        for start in range(0, len(files), at_once):
            rows += self._batch(files[start : start + at_once])
        return rows

    def _batch(self, files: Sequence[SourceFile]) -> list[Row]:
        rows: list[Row] = [{"file": _as_text(file.name)} for file in files]
        images = np.empty((len(files), *self.size, 3), np.uint8)
        read: list[Row] = []
        for file, row in zip(files, rows, strict=True):
            try:
                images[len(read)] = load(file.read(), *self.size)
                read.append(row)
            except BadImage as error:
                row["error"] = str(error)
        if read:
            for row, probabilities in zip(read, self.predict(images[: len(read)]), strict=True):
                row["predictions"] = top_predictions(probabilities, self.labels, self.top_k)
        return rows


def images_in(files: Sequence[SourceFile], source: str) -> list[SourceFile]:
    """Those whose names end like an image's. Raises BadDataset when there are none."""
    found = [file for file in files if Path(file.name).suffix.lower() in IMAGE_SUFFIXES]
    if not found:
        raise BadDataset(f"{source} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return found


def blocks_of(files: Sequence[SourceFile], workers: int) -> list[Sequence[SourceFile]]:
    """What so many workers are given, in order."""
    size = max(_SMALLEST_BLOCK, min(_LARGEST_BLOCK, -(-len(files) // (_BLOCKS_EACH * workers))))
    return [files[start : start + size] for start in range(0, len(files), size)]


def _as_text(name: str) -> str:
    """Bytes of a file name that are no UTF-8 are written as \\xff."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")
