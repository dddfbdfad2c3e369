"""A folder or a zip of images as one list of files, whichever it is; and reading one of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from app.errors import BadDataset, BadImage
from app.zip_members import MAX_MEMBER_BYTES, ZipMember, list_members, read_member

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
"""How names of images end, where other files lie beside them; in lower case."""
_IGNORED_NAMES = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})


class SourceFile(NamedTuple):
    """One file of a source. It travels to wherever the file is decoded, and there may be a million of them: a tuple
    is made and pickled several times as fast as a dataclass."""

    name: str
    """Path inside the source, with `/`: what messages and reports say."""
    path: str
    """The file to open: itself, or the zip that holds it."""
    size: int
    """Bytes, unpacked."""
    stamp: int
    """Changes when the file does: modification time in ns, or the checksum in the zip."""
    member: ZipMember | None = None

    def read(self, *, limit: int | None = None) -> bytes:
        """The file's bytes, at most the first `limit`.

        Raises BadImage when it cannot be read, BadDataset when its zip turns out to be hostile.
        """
        try:
            if self.member is not None:
                return read_member(self.path, self.member, limit=limit)
            if self.size > MAX_MEMBER_BYTES and limit is None:
                raise BadImage(f"{self.size:,} bytes are too many for an image")
            with open(self.path, "rb", buffering=0) as file:  # noqa: PTH123  (a Path takes longer than the reading)
                return file.read(-1 if limit is None else limit)
        except OSError as error:
            raise BadImage(f"cannot be read: {error.strerror or error}") from error


@dataclass(frozen=True, slots=True)
class Listing:
    """All visible files of a source, sorted by name, and all folders in it, empty ones too."""

    path: Path
    files: tuple[SourceFile, ...]
    folders: frozenset[str]

    @property
    def name(self) -> str:
        return self.path.stem if self.path.is_file() else self.path.name


def list_source(path: Path) -> Listing:
    """Lists a folder or a zip without opening any image.

    Hidden files, `__MACOSX`, `Thumbs.db` and `desktop.ini` are left out. Raises BadDataset in one line.
    """
    path = path.expanduser().absolute()
    if not path.exists():
        raise BadDataset(f"{path} does not exist (give digits, cifar10, a folder or a zip file)")
    try:
        return _list_folder(path) if path.is_dir() else _list_zip(path)
    except OSError as error:
        raise BadDataset(f"{path} cannot be read: {error.strerror or error}") from error


def _list_folder(root: Path) -> Listing:
    files: list[SourceFile] = []
    folders: set[str] = set()
    for entry, name in _walk(str(root), "", frozenset()):
        if entry.is_dir():
            folders.add(name)
        else:
            status = entry.stat()
            files.append(SourceFile(name, entry.path, status.st_size, status.st_mtime_ns))
    return Listing(root, tuple(sorted(files, key=lambda file: file.name)), frozenset(folders))


def _walk(folder: str, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[tuple[os.DirEntry[str], str]]:
    """Every entry below `folder` with its name inside the source. Links are followed, never in a circle."""
    status = Path(folder).stat()
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        return
    with os.scandir(folder) as entries:
        visible = [entry for entry in entries if _is_visible(entry.name)]
    for entry in visible:
        is_dir = entry.is_dir()
        if not is_dir and not entry.is_file():
            continue  # a dangling link, a socket, a pipe that would block
        yield entry, prefix + entry.name
        if is_dir:
            yield from _walk(entry.path, f"{prefix}{entry.name}/", above | {identity})


def _list_zip(path: Path) -> Listing:
    files: list[SourceFile] = []
    folders: set[str] = set()
    for raw_name, member in list_members(path).items():
        parts = [part for part in raw_name.split("/") if part not in ("", ".")]
        if not parts or not all(map(_is_visible, parts)):
            continue
        name = "/".join(parts)
        folder = name if member is None else name[: -len(parts[-1]) - 1]
        while folder and folder not in folders:
            folders.add(folder)
            folder = folder.rpartition("/")[0]
        if member is not None:
            files.append(SourceFile(name, str(path), member.unpacked, member.crc, member))
    return Listing(path, tuple(sorted(files, key=lambda file: file.name)), frozenset(folders))


def _is_visible(name: str) -> bool:
    return not name.startswith(".") and name not in _IGNORED_NAMES
