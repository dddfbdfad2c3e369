"""A bundle is read back as it was written, or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.artifact import (
    MANIFEST_FILE,
    MODEL_FILE,
    ONNX_METADATA_KEY,
    InputSpec,
    Lineage,
    Manifest,
    Variant,
    local_folder,
    open_bundle,
    open_onnx_seal,
    read_manifest,
    seal_for_onnx,
    write_manifest,
)
from app.errors import BrokenBundle, NotFound
from tests.bundles import write_colour_bundle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_colour_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"


def full_manifest() -> Manifest:
    return Manifest(
        name="pets",
        architecture="custom_cnn",
        labels=("cat", 'dög "1"', "\u2028"),
        input=InputSpec(height=8, width=9, resize="area"),
        created="2026-01-01T00:00:00+00:00",
        lineage=Lineage(dataset="d", dataset_digest="e" * 64, git_commit="f", run_id="g", parent_version="pets/1"),
        variants={
            "fp32": Variant(
                file="a.onnx", bytes=7, accuracy=0.1 + 0.2, max_error=1e-9, latency_ms={"32": 2.5, "1": 0.1}
            )
        },
    )


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes the manifest and seals it again, as another version of Manta would have written it."""
    sealed = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    change(sealed["manifest"])
    text = json.dumps(sealed["manifest"], indent=2, ensure_ascii=False)
    sealed["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    (folder / MANIFEST_FILE).write_text(json.dumps(sealed, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def test_a_manifest_comes_back_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"graph")
    (tmp_path / "checkpoint.pt").write_bytes(b"weights")
    written = write_manifest(tmp_path, full_manifest())
    assert read_manifest(tmp_path) == written
    assert written == dataclasses.replace(
        full_manifest(),
        files={name: hashlib.sha256(text).hexdigest() for name, text in FILES.items()},
    )
    assert list(written.variants["fp32"].latency_ms) == ["32", "1"]
    assert open_bundle(tmp_path).variant_path() == tmp_path / "a.onnx"


FILES = {"a.onnx": b"graph", "checkpoint.pt": b"weights"}


def test_writing_again_is_the_same_text(folder: Path) -> None:
    before = (folder / MANIFEST_FILE).read_bytes()
    write_manifest(folder, read_manifest(folder))
    assert (folder / MANIFEST_FILE).read_bytes() == before


@pytest.mark.parametrize("name", [MODEL_FILE, MANIFEST_FILE])
@pytest.mark.parametrize("bits", [0x01, 0x20, 0xFF])
def test_a_changed_byte_anywhere_is_seen_and_its_file_named(folder: Path, name: str, bits: int) -> None:
    path = folder / name
    original = path.read_bytes()
    for position in range(len(original)):
        changed = bytearray(original)
        changed[position] ^= bits
        path.write_bytes(changed)
        with pytest.raises(BrokenBundle, match=re.escape(name)):
            open_bundle(folder)
    path.write_bytes(original)
    open_bundle(folder)


@pytest.mark.parametrize("name", [MODEL_FILE, MANIFEST_FILE])
def test_a_cut_or_longer_file_is_seen(folder: Path, name: str) -> None:
    path = folder / name
    original = path.read_bytes()
    for content in (b"", original[:-1], original[: len(original) // 2], original + b" ", original + b"\n"):
        path.write_bytes(content)
        with pytest.raises(BrokenBundle, match=re.escape(name)):
            open_bundle(folder)


def test_changed_line_ends_are_seen(folder: Path) -> None:
    path = folder / MANIFEST_FILE
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    with pytest.raises(BrokenBundle, match=r"manifest\.json was changed after it was written"):
        read_manifest(folder)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / MODEL_FILE).unlink()
    with pytest.raises(BrokenBundle, match=r"model\.onnx is missing"):
        open_bundle(folder)
    (folder / MODEL_FILE).mkdir()
    with pytest.raises(BrokenBundle, match=r"model\.onnx is missing"):
        open_bundle(folder)


def test_a_folder_without_a_manifest_is_no_bundle(folder: Path, tmp_path: Path) -> None:
    (folder / MANIFEST_FILE).unlink()
    for place in (folder, tmp_path / "nowhere", folder / MODEL_FILE):
        with pytest.raises(NotFound, match=rf"no model bundle in {place}: manifest\.json is missing"):
            open_bundle(place)


@pytest.mark.parametrize("version", [0, 3, "2", None])
def test_another_schema_version_is_refused(folder: Path, version: object) -> None:
    rewrite(folder, lambda manifest: manifest.update(schema_version=version))
    with pytest.raises(BrokenBundle, match=rf"manifest\.json .*schema version {version!r}, this Manta reads up to 2"):
        open_bundle(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest.pop("schema_version"),
        lambda manifest: manifest.pop("labels"),
        lambda manifest: manifest.pop("name"),
        lambda manifest: manifest.update(invented=1),
        lambda manifest: manifest.update(labels=None),
        lambda manifest: manifest.update(variants=[1]),
        lambda manifest: manifest.update(input={"height": 8}),
        lambda manifest: manifest["variants"]["fp32"].update(invented=1),
    ],
)
def test_a_manifest_with_missing_or_unknown_fields_is_refused(
    folder: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    rewrite(folder, change)
    with pytest.raises(BrokenBundle, match=r"manifest\.json"):
        open_bundle(folder)


@pytest.mark.parametrize("text", ["", "[]", "1", '"x"', "null", "{}", '{"manifest": []}', '{"manifest": null}', "\xff"])
def test_other_json_is_refused(folder: Path, text: str) -> None:
    (folder / MANIFEST_FILE).write_bytes(text.encode("latin-1"))
    with pytest.raises(BrokenBundle, match=r"manifest\.json is damaged"):
        open_bundle(folder)


def test_an_unknown_variant_is_not_found(folder: Path) -> None:
    with pytest.raises(NotFound, match=r"has no variant 'int8' \(it has: fp32\)"):
        open_bundle(folder).variant_path("int8")


def test_the_seal_holds_the_manifest_without_files_and_measurements() -> None:
    manifest = dataclasses.replace(full_manifest(), files={"a": "b"})
    assert open_onnx_seal({ONNX_METADATA_KEY: seal_for_onnx(manifest)}) == dataclasses.replace(
        manifest, files={}, variants={}
    )


def test_a_changed_seal_is_refused() -> None:
    sealed = json.loads(seal_for_onnx(full_manifest()))
    sealed["manifest"] = sealed["manifest"].replace("cat", "cut")
    with pytest.raises(BrokenBundle, match="was changed"):
        open_onnx_seal({ONNX_METADATA_KEY: json.dumps(sealed)})


@pytest.mark.parametrize("value", ["", "[]", "{}", "null", '{"manifest": "x"}', '{"manifest": 1, "sha256": ""}'])
def test_a_damaged_seal_is_refused(value: str) -> None:
    with pytest.raises(BrokenBundle, match="is damaged"):
        open_onnx_seal({ONNX_METADATA_KEY: value})


def test_a_missing_seal_is_refused() -> None:
    with pytest.raises(BrokenBundle, match="carries no Manta manifest"):
        open_onnx_seal({"other": "x"})


@pytest.mark.parametrize("name", ["plain", "with space", "a#b", "50%25", "what?", "ü"])
def test_the_folder_of_a_uri_or_path(tmp_path: Path, name: str) -> None:
    place = tmp_path / name
    assert local_folder(str(place)) == place
    assert local_folder(place.as_uri()) == place


@pytest.mark.parametrize("uri", ["s3://bucket/x", "mlflow-artifacts:/1/2", "http://host/x", "relative/x"])
def test_a_uri_elsewhere_is_not_found(uri: str) -> None:
    with pytest.raises(NotFound, match=re.escape(uri)):
        local_folder(uri)


def test_a_copied_bundle_is_the_same_bundle(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    assert open_bundle(tmp_path / "copy").manifest == open_bundle(folder).manifest


def test_reading_bundles_imports_neither_torch_nor_mlflow() -> None:
    code = "import sys, app.artifact, app.inference; sys.exit('torch' in sys.modules or 'mlflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_bundle_of_the_first_schema_is_read(folder: Path) -> None:
    def as_it_was(manifest: dict[str, Any]) -> None:
        manifest["schema_version"] = 1
        for variant in manifest["variants"].values():
            for name in ("mean_error", "status", "reason", "made_with"):
                del variant[name]

    rewrite(folder, as_it_was)
    assert open_bundle(folder).manifest.variants["fp32"].status == "ok"
