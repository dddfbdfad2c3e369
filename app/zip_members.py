"""Images inside a zip, read by their byte ranges: never extracted, safe with a hostile file.

`list_members` reads the central directory alone and refuses what no honest data set holds: names
that lead out of the folder, links, encryption, members that share bytes, absurd sizes. `read_member`
inflates one member and stops at the size it declares.
"""

from __future__ import annotations

import contextlib
import stat
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from app.errors import BadDataset, BadImage

MAX_MEMBER_BYTES = 256 * 2**20
"""Unpacked size of one member: the largest image within `imaging.MAX_PIXELS`, uncompressed with alpha."""
MAX_TOTAL_BYTES = 512 * 2**30
"""Unpacked size of all members."""
MAX_RATIO = 200
"""Unpacked over packed bytes of the whole file. Photographs are near 1, drawings as BMP reach about 50."""
RATIO_FLOOR_BYTES = 64 * 2**20
"""Below this unpacked size no ratio is absurd: a few blank images shrink a thousandfold, and harm nobody."""

_LOCAL_HEADER = struct.Struct("<4s22xHH")
_READABLE = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_UTF8_FLAG = 0x800
"""Of a member's name; without it Python reads bytes as code page 437."""
_DEFLATE_SLACK = 1024
"""Bytes by which data that does not compress may grow within one header's length."""


class ZipMember(NamedTuple):
    """Where a member lies in its zip file, sizes in bytes."""

    offset: int
    """Of the local header, which comes before the data."""
    packed: int
    unpacked: int
    deflated: bool
    crc: int


def list_members(path: Path) -> dict[str, ZipMember | None]:
    """Members by name, None for a folder. Raises BadDataset for a broken, hostile or unreadable zip."""
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, struct.error) as error:
        raise BadDataset(f"{path} is not a zip file, or a broken one: {error}") from error
    for info in infos:
        _check_name(path, info)
        _check_readable(path, info)
    _check_sizes(path, infos)
    _check_overlap(path, infos)
    named = {_name(info): info for info in infos}
    return {name.rstrip("/"): None if name.endswith("/") else _member(info) for name, info in named.items()}


def read_member(path: str, member: ZipMember, *, limit: int | None = None) -> bytes:
    """The member's bytes, at most the first `limit`.

    Raises BadDataset when it unpacks to more than it declares, BadImage when it is cut off or damaged.
    """
    with Path(path).open("rb") as file:
        file.seek(member.offset)
        header = file.read(_LOCAL_HEADER.size)
        if len(header) < _LOCAL_HEADER.size or header[:4] != b"PK\x03\x04":
            raise BadImage("the zip has no member where its directory says")
        _, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(header)
        file.seek(name_bytes + extra_bytes, 1)
        wanted = member.packed if limit is None else min(limit + _DEFLATE_SLACK, member.packed)
        packed = file.read(wanted)
    data = _inflate(packed, member, limit) if member.deflated else packed
    if limit is not None:
        return data[:limit]
    if len(data) != member.unpacked or zlib.crc32(data) != member.crc:
        raise BadImage("damaged inside the zip (length or checksum differs)")
    return data


def _inflate(packed: bytes, member: ZipMember, limit: int | None) -> bytes:
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = engine.decompress(packed, min(limit or member.unpacked + 1, member.unpacked + 1))
    except zlib.error as error:
        raise BadImage("damaged inside the zip (does not inflate)") from error
    if len(data) > member.unpacked:
        raise BadDataset(f"the zip is hostile: a member declares {member.unpacked:,} bytes and unpacks to more")
    return data


def _name(info: zipfile.ZipInfo) -> str:
    """With slashes, and as UTF-8 where it is that: packers of macOS and Windows say so of no name."""
    name = info.filename
    if not info.flag_bits & _UTF8_FLAG:
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/")


def _member(info: zipfile.ZipInfo) -> ZipMember:
    deflated = info.compress_type == zipfile.ZIP_DEFLATED
    return ZipMember(info.header_offset, info.compress_size, info.file_size, deflated, info.CRC)


def _check_name(path: Path, info: zipfile.ZipInfo) -> None:
    name = info.orig_filename.replace("\\", "/")
    has_drive = len(name) > 1 and name[1] == ":"
    if name.startswith("/") or has_drive or ".." in name.split("/"):
        raise BadDataset(f"{path}: member {info.orig_filename!r} would be written outside its folder")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise BadDataset(f"{path}: member {info.orig_filename!r} is a symbolic link; only plain files are read")


def _check_readable(path: Path, info: zipfile.ZipInfo) -> None:
    if info.flag_bits & 0x1:
        raise BadDataset(f"{path}: member {info.filename!r} is encrypted")
    if info.compress_type not in _READABLE:
        raise BadDataset(f"{path}: member {info.filename!r} is neither stored nor deflated; pack it with plain zip")
    if info.compress_type == zipfile.ZIP_STORED and info.compress_size != info.file_size:
        raise BadDataset(f"{path}: member {info.filename!r} declares two different sizes")


def _check_sizes(path: Path, infos: Sequence[zipfile.ZipInfo]) -> None:
    for info in infos:
        if info.file_size > MAX_MEMBER_BYTES:
            raise BadDataset(
                f"{path}: member {info.filename!r} declares {info.file_size:,} bytes, too many for an image"
            )
    total, packed = sum(info.file_size for info in infos), path.stat().st_size
    if total > MAX_TOTAL_BYTES or (total > RATIO_FLOOR_BYTES and total > MAX_RATIO * packed):
        raise BadDataset(f"{path} unpacks from {packed:,} to {total:,} bytes: this looks like a decompression bomb")


def _check_overlap(path: Path, infos: Sequence[zipfile.ZipInfo]) -> None:
    """Members that share bytes are how a small file unpacks to petabytes."""
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise BadDataset(f"{path}: member {info.filename!r} overlaps another: this looks like a decompression bomb")
        end = info.header_offset + _LOCAL_HEADER.size + info.compress_size
