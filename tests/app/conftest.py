"""For the tests of data sets a small folder of images and an empty cache; for those that train, one thread."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.image_trees import class_files, write_tree


@pytest.fixture(scope="module")
def single_thread() -> Iterator[None]:
    """While the tests of a module run, and what they share is trained."""
    from tests.app.tiny_data import one_thread  # imports torch, which most tests here do without

    with one_thread():
        yield


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """A folder `pets` with 20 cats and 10 dogs, all 8x8 and all different."""
    return write_tree(tmp_path / "pets", class_files("", {"cat": 20, "dog": 10}))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"
