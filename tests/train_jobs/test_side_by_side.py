"""Which versions can be measured beside each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.config import Home
from app.errors import BadInput
from app.registry import Registry
from tests.bundles import write_colour_bundle
from train_jobs.side_by_side import open_alike, report_file


def register(registry: Registry, folder: Path, name: str, *, size: int = 8) -> None:
    manifest = write_colour_bundle(folder, name=name, size=size)
    registry.register(registry.start_run(name, {}), folder, manifest)


def test_versions_of_other_input_are_refused(registry: Registry, home: Home, tmp_path: Path) -> None:
    register(registry, tmp_path / "a", "a")
    register(registry, tmp_path / "b", "b")
    register(registry, tmp_path / "c", "c", size=16)
    alike = open_alike(registry, ["a/1", "b/1"])
    assert [version.reference for version, _ in alike] == ["a/1", "b/1"]
    file = report_file(home, "compare", [version for version, _ in alike], "html")
    assert file == home.reports / "compare-a-1-b-1.html"
    assert file.parent.is_dir()
    with pytest.raises(BadInput, match=r"version c/1 takes 16x16 images .* and version a/1 8x8"):
        open_alike(registry, ["a/1", "c/1"])
