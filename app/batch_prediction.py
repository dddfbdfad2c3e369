"""Answers to many image files: one row for each, also for those that cannot be read."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from app.dataset_source import SourceFile
from app.errors import BadDataset, BadImage, BadInput
from app.imaging import load
from app.predictions import top_predictions

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
FORMATS = (".csv", ".jsonl", ".parquet")
"""Of the file with the answers, told by its name."""

_BATCH_BYTES = 8 * 2**20
_MOST_IN_A_BATCH = 64
_SMALLEST_BLOCK, _LARGEST_BLOCK = 16, 512
"""One block is what a worker gets at a time: seconds of work for photographs, a tenth of one for thumbnails."""
_BLOCKS_EACH = 4
"""Of each worker, where there are enough images: so none waits long for the others at the end."""

Row = dict[str, Any]
"""{"file", "predictions": [{"class_id", "class_name", "confidence"}]}, or {"file", "error"}."""


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
        height, width = self.size
        at_once = max(1, min(_MOST_IN_A_BATCH, _BATCH_BYTES // (height * width * 3)))
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


class Writer(Protocol):
    def write(self, rows: Sequence[Row]) -> None: ...


def check_format(path: Path) -> None:
    """Raises BadInput for a name that does not tell the format, or that is taken by a folder."""
    if path.suffix.lower() not in FORMATS:
        raise BadInput(f"--out {path.name!r} has to end with {', '.join(FORMATS)}")
    if path.is_dir():
        raise BadInput(f"--out {path} is a folder")


@contextmanager
def answers_file(path: Path, top_k: int) -> Iterator[Writer]:
    """A file that is there once all rows are, under its name; a former one stays until then.

    CSV and Parquet have a column for each of the `top_k` answers; JSON lines hold rows as they are. Raises OSError.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    writers = {".csv": _csv_writer, ".jsonl": _json_writer, ".parquet": _parquet_writer}
    try:
        with writers[path.suffix.lower()](partial, top_k) as writer:
            yield writer
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


class _JsonLines:
    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, rows: Sequence[Row]) -> None:
        self._file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


@contextmanager
def _json_writer(path: Path, _top_k: int) -> Iterator[Writer]:
    with path.open("w", encoding="utf-8") as file:
        yield _JsonLines(file)


class _Csv:
    def __init__(self, table: Any) -> None:
        self._table = table

    def write(self, rows: Sequence[Row]) -> None:
        self._table.writerows(map(_flat, rows))


@contextmanager
def _csv_writer(path: Path, top_k: int) -> Iterator[Writer]:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(_columns(top_k)))
        table.writeheader()
        yield _Csv(table)


class _Parquet:
    def __init__(self, writer: Any, schema: Any) -> None:
        self._writer = writer
        self._schema = schema

    def write(self, rows: Sequence[Row]) -> None:
        import pyarrow as pa

        self._writer.write_table(pa.Table.from_pylist([_flat(row) for row in rows], self._schema))


@contextmanager
def _parquet_writer(path: Path, top_k: int) -> Iterator[Writer]:
    import pyarrow as pa  # late: half a second
    import pyarrow.parquet as parquet

    kinds = {str: pa.string(), int: pa.int32(), float: pa.float32()}
    schema = pa.schema([(name, kinds[kind]) for name, kind in _columns(top_k).items()])
    with parquet.ParquetWriter(path, schema) as writer:
        yield _Parquet(writer, schema)


def _columns(top_k: int) -> dict[str, type]:
    columns: dict[str, type] = {"file": str, "error": str}
    for place in range(1, top_k + 1):
        columns |= {_column(name, place): kind for name, kind in _PREDICTION.items()}
    return columns


_PREDICTION: Mapping[str, type] = {"class_id": int, "class_name": str, "confidence": float}


def _column(name: str, place: int) -> str:
    return name if place == 1 else f"{name}_{place}"


def _flat(row: Row) -> Row:
    flat = {"file": row["file"], "error": row.get("error")}
    for place, prediction in enumerate(row.get("predictions", ()), 1):
        flat |= {_column(name, place): value for name, value in prediction.items()}
    return flat
