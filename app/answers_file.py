"""The file that answers to many images are written to, in the format that its name tells.

Light on purpose: the command line checks the name without importing what decodes images.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from app.errors import BadInput

FORMATS = (".csv", ".jsonl", ".parquet")
"""Endings of its name."""

Row = dict[str, Any]
"""{"file", "predictions": [{"class_id", "class_name", "confidence"}]}, or {"file", "error"}."""


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
