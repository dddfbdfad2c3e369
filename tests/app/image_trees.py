"""Folders and zips of small images, good and bad, for the tests of data sets."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from app.imaging import encode_png

CENTRAL = b"PK\x01\x02"
"""Begins an entry in a zip's central directory."""


def png(seed: int, size: tuple[int, int] = (16, 16)) -> bytes:
    return encode_png(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))


def class_files(prefix: str, classes: Mapping[str, int], *, size: tuple[int, int] = (16, 16)) -> dict[str, bytes]:
    """`<prefix><class>/<nn>.png` with that many images for each class; no two images are equal."""
    first = sum(map(ord, prefix))
    return {
        f"{prefix}{name}/{number:02}.png": png(1000 * first + 100 * index + number, size)
        for index, (name, count) in enumerate(classes.items())
        for number in range(count)
    }


def write_tree(root: Path, files: Mapping[str, bytes]) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def write_zip(path: Path, files: Mapping[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def entries(folder: Path) -> list[str]:
    """Names of everything in a folder, hidden entries too; none when it does not exist."""
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def patch(path: Path, member: str, offset: int, data: bytes) -> None:
    """Damages a zip: overwrites a field of a member's central entry; `offset` counts from its start."""
    raw = bytearray(path.read_bytes())
    position = raw.find(CENTRAL)
    while raw[position + 46 :][: len(member)] != member.encode():
        position = raw.index(CENTRAL, position + 4)
    raw[position + offset : position + offset + len(data)] = data
    path.write_bytes(raw)
