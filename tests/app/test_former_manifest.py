"""Bundles that an earlier Manta wrote, with figures that this one no longer takes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from app.artifact import MANIFEST_FILE, InputSpec, Manifest, Variant, open_bundle, write_manifest
from app.errors import BrokenBundle


def write_with(folder: Path, field: str) -> Path:
    """A bundle whose variant has one field more, sealed as it was then."""
    manifest = Manifest(
        name="photos",
        architecture="mobile",
        labels=("cat", "dog"),
        input=InputSpec(height=32, width=32, resize="area"),
        created="2026-01-01T00:00:00+00:00",
        variants={"fp32": Variant(file="model.onnx", bytes=1, accuracy=0.9, max_error=0.0)},
    )
    (folder / "model.onnx").touch()
    write_manifest(folder, manifest)
    values = json.loads((folder / MANIFEST_FILE).read_text())["manifest"]
    values["variants"]["fp32"][field] = {"1": 0.5}
    digest = hashlib.sha256(json.dumps(values, indent=2, ensure_ascii=False).encode()).hexdigest()
    content = json.dumps({"sha256": digest, "manifest": values}, indent=2, ensure_ascii=False) + "\n"
    (folder / MANIFEST_FILE).write_text(content)
    return folder


def test_a_figure_that_nothing_reads_any_more_is_passed_over(tmp_path: Path) -> None:
    folder = write_with(tmp_path, "latency_all_threads_ms")
    assert open_bundle(folder).manifest.variants["fp32"].accuracy == 0.9


def test_a_field_that_no_manta_wrote_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BrokenBundle, match="colour"):
        open_bundle(write_with(tmp_path, "colour"))
