"""What a user gets for data, versions and options that cannot be used: one line, and nothing started or written."""

from __future__ import annotations

import socket
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from app.config import Home
from tests.app.image_trees import class_files, png, write_tree, write_zip
from tests.bundles import register_colours
from tests.cli.manta import assert_refused, manta_here


def empty_folder(root: Path) -> Path:
    root.mkdir()
    return root


def class_without_images(root: Path) -> Path:
    write_tree(root, class_files("", {"cat": 20}))
    (root / "dog").mkdir()
    return root


def one_class(root: Path) -> Path:
    return write_tree(root, class_files("", {"cat": 20}))


def broken_zip(root: Path) -> Path:
    path = write_zip(root.with_suffix(".zip"), class_files("", {"cat": 20, "dog": 20}))
    path.write_bytes(path.read_bytes()[:-200])
    return path


def outside_zip(root: Path) -> Path:
    return write_zip(root.with_suffix(".zip"), {**class_files("", {"cat": 20, "dog": 20}), "../../outside.png": png(1)})


def bomb_zip(root: Path) -> Path:
    path = root.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("cat", "dog"):
            archive.writestr(f"{name}/0.png", bytes(300 * 2**20))
    return path


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda root: root / "missing", "does not exist"),
        (empty_folder, "no class folders"),
        (class_without_images, "dog"),
        (one_class, "one class"),
        (broken_zip, "zip"),
        (outside_zip, "outside"),
        (bomb_zip, "zip"),
    ],
)
def test_unusable_data_is_refused_before_anything_starts(
    home: Home, tmp_path: Path, make: Callable[[Path], Path], says: str
) -> None:
    source = make(tmp_path / "data")
    answer = manta_here(home, "pipeline", "--data", source)
    assert_refused(answer, 2, says)
    assert not home.cluster_file.exists()
    assert not home.runs.exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--epochs", 0), "--epochs"),
        (("--batch-size", 1), "--batch-size"),
        (("--lr", -1), "--lr"),
        (("--max-bad", "many"), "--max-bad"),
        (("--max-bad", "101%"), "--max-bad"),
        (("--port", 70000), "--port"),
        (("--image-size", 0), "--image-size"),
        (("--precision", "fp4"), "--precision"),
        (("--workers", 40, "--batch-size", 64), "--batch-size"),
    ],
)
def test_an_option_out_of_range_is_named(home: Home, options: tuple[object, ...], says: str) -> None:
    assert_refused(manta_here(home, "pipeline", "--data", "digits", *options), 2, says)


@pytest.mark.parametrize("verb", ["pipeline", "serve"])
def test_a_port_in_use_is_said_before_a_cluster_is_started(home: Home, verb: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        if verb == "serve":
            register_colours(home)
        answer = manta_here(home, verb, "--port", port)
    assert_refused(answer, 6, f"port {port} is in use")
    assert not home.cluster_file.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("serve", "digits/1"), 3, "no model 'digits'"),
        (("serve", "a/b/c"), 2, "no version"),
        (("predict", "image.png"), 2, "does not exist"),
        (("versions", "nothing"), 3, "no model 'nothing'"),
        (("models", "no_such_net"), 2, "unknown model"),
        (("models", "custom_cnn", "--image-size", 4), 2, "at least 8x8"),
    ],
)
def test_what_does_not_exist(home: Home, arguments: tuple[object, ...], code: int, says: str) -> None:
    assert_refused(manta_here(home, *arguments), code, says)
    assert not home.cluster_file.exists()
