"""Zips: members read by range, and every hostile or broken zip refused in one line."""

from __future__ import annotations

import os
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from app.datasets import check_source, prepare
from app.errors import BadDataset, BadImage
from app.zip_members import list_members, read_member
from tests.app.image_trees import class_files, entries, patch, png, write_zip

FILES = class_files("train/", {"a": 12, "b": 12})


def complaint(path: Path) -> str:
    with pytest.raises(BadDataset) as caught:
        check_source(str(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_read_as_written(tmp_path: Path, method: int) -> None:
    path = write_zip(tmp_path / "data.zip", FILES, method=method)
    for name, member in list_members(path).items():
        assert member is not None
        assert read_member(str(path), member) == FILES[name]
        assert read_member(str(path), member, limit=10) == FILES[name][:10]


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../outside.png", "train/a/../../../x.png", "C:/x.png", "..\\x.png", "\\x.png"]
)
def test_a_name_that_leads_out(tmp_path: Path, name: str) -> None:
    path = write_zip(tmp_path / "data.zip", FILES | {name: png(1)})
    assert "outside its folder" in complaint(path)


def test_a_link(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "data.zip", FILES)
    link = zipfile.ZipInfo("train/a/link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "symbolic link" in complaint(path)


def test_a_cut_zip(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "data.zip", FILES)
    os.truncate(path, path.stat().st_size // 2)
    assert "not a zip file, or a broken one" in complaint(path)


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        ("caf\u00e9/".encode("cp437"), "caf\u00e9/"),
        ("caf\u00e9/".encode(), "caf\u00e9/"),
        (b"a\\b\\", "a/b/"),
    ],
)
def test_names_of_packers_that_do_not_say_how_they_write_them(tmp_path: Path, stored: bytes, read: str) -> None:
    """macOS writes UTF-8 without its flag, which Python reads as code page 437; some of Windows write backslashes."""
    placeholder = "Q" * len(stored)
    path = write_zip(tmp_path / "data.zip", {f"{placeholder}{number}.png": png(number) for number in range(2)})
    path.write_bytes(path.read_bytes().replace(placeholder.encode(), stored))
    members = list_members(path)
    assert sorted(members) == [f"{read}0.png", f"{read}1.png"]
    first = members[f"{read}0.png"]
    assert first is not None
    assert read_member(str(path), first) == png(0)


def test_an_empty_zip(tmp_path: Path) -> None:
    assert "no class folders" in complaint(write_zip(tmp_path / "data.zip", {}))


def test_a_class_folder_without_images(tmp_path: Path) -> None:
    assert "class folder without images" in complaint(write_zip(tmp_path / "data.zip", FILES | {"train/c/": b""}))


def test_encrypted(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "data.zip", FILES)
    patch(path, "train/a/00.png", 8, b"\x01\x00")
    assert "is encrypted" in complaint(path)


def test_a_compression_that_is_not_read(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "data.zip", FILES, method=zipfile.ZIP_BZIP2)
    assert "neither stored nor deflated" in complaint(path)


def test_a_small_file_that_unpacks_to_much(tmp_path: Path) -> None:
    blank = {f"train/{label}/{n}.png": bytes(20 * 2**20) for label in "ab" for n in range(2)}
    path = write_zip(tmp_path / "data.zip", blank)
    assert path.stat().st_size < 2**20
    assert "decompression bomb" in complaint(path)


def test_a_member_that_declares_an_absurd_size(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "data.zip", FILES)
    patch(path, "train/a/00.png", 24, struct.pack("<I", 3 * 2**30))
    assert "too many for an image" in complaint(path)


def test_a_total_that_is_absurd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.zip_members.MAX_TOTAL_BYTES", 1000)
    assert "decompression bomb" in complaint(write_zip(tmp_path / "data.zip", FILES))


def test_members_that_share_bytes(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "data.zip", FILES)
    patch(path, "train/a/05.png", 42, struct.pack("<I", 0))
    assert "overlaps another" in complaint(path)


def test_a_stored_member_with_two_sizes(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "data.zip", FILES, method=zipfile.ZIP_STORED)
    patch(path, "train/a/00.png", 24, struct.pack("<I", 10))
    assert "two different sizes" in complaint(path)


def test_a_member_that_unpacks_to_more_than_it_declares(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "data.zip", FILES)
    patch(path, "train/a/00.png", 24, struct.pack("<I", 10))
    with pytest.raises(BadDataset, match="declares 10 bytes and unpacks to more"):
        prepare(str(path), cache=tmp_path / "cache", image_size=8, max_bad=1.0)
    assert entries(tmp_path / "cache") == []


@pytest.mark.parametrize(("field", "value"), [(16, b"\0\0\0\0"), (42, b"\x07\0\0\0"), (24, struct.pack("<I", 10**6))])
def test_a_damaged_member_is_one_bad_image(tmp_path: Path, field: int, value: bytes) -> None:
    """A wrong checksum, a wrong place, less than declared: the file is left out, the rest is used."""
    path = write_zip(tmp_path / "data.zip", {"train/a/00.png": png(5)})
    patch(path, "train/a/00.png", field, value)
    (member,) = list_members(path).values()
    assert member is not None
    with pytest.raises(BadImage, match="zip"):
        read_member(str(path), member)
