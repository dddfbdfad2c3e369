"""A small folder of images, and an empty cache, for the tests of data sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.app.image_trees import class_files, write_tree


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """A folder `pets` with 20 cats and 10 dogs, all 8x8 and all different."""
    return write_tree(tmp_path / "pets", class_files("", {"cat": 20, "dog": 10}))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"
