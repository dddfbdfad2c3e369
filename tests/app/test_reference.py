"""What live traffic is compared with: as it was written, and refused where it was changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.artifact import read_manifest, write_manifest
from app.errors import BrokenBundle
from app.reference import (
    CONFIDENCE,
    MEASURES,
    PREDICTION,
    REFERENCE_FILE,
    Distribution,
    read_reference,
    reference_of,
    write_reference,
)
from tests.bundles import write_colour_bundle

IMAGES = np.random.default_rng(0).integers(0, 256, (100, 8, 8, 3), dtype=np.uint8)
PROBABILITIES = np.random.default_rng(1).dirichlet([1, 1, 1], 100).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_colour_bundle(tmp_path, reference=(IMAGES, PROBABILITIES))
    return tmp_path


def test_it_is_read_as_it_was_written(folder: Path) -> None:
    found = read_reference(folder, read_manifest(folder))
    assert found == reference_of(IMAGES, PROBABILITIES)
    assert found is not None
    assert tuple(found.measures) == MEASURES
    assert found.images == 100
    assert {name: sum(each.counts) for name, each in found.measures.items()} == dict.fromkeys(MEASURES, 100)
    assert found.measures[PREDICTION].counts == tuple(np.bincount(PROBABILITIES.argmax(1)).tolist())
    assert found.measures[CONFIDENCE].counts[0] == (PROBABILITIES.max(1) <= 0.5).sum()
    assert max(found.measures["brightness"].counts) <= 15, "tenths"


def test_a_bundle_from_before_has_none(tmp_path: Path) -> None:
    assert read_reference(tmp_path, write_colour_bundle(tmp_path)) is None


def test_a_changed_one_is_found_out(folder: Path) -> None:
    manifest = read_manifest(folder)
    write_reference(folder, reference_of(IMAGES[:50], PROBABILITIES[:50]))
    with pytest.raises(BrokenBundle, match=r"reference\.json is missing or was changed"):
        read_reference(folder, manifest)
    (folder / REFERENCE_FILE).unlink()
    with pytest.raises(BrokenBundle, match=r"reference\.json is missing or was changed"):
        read_reference(folder, manifest)


@pytest.mark.parametrize("text", ["", "[]", '{"images": 3}', '{"images": 3, "measures": {"prediction": {}}}'])
def test_one_that_makes_no_sense(folder: Path, text: str) -> None:
    (folder / REFERENCE_FILE).write_text(text)
    manifest = write_manifest(folder, read_manifest(folder))
    with pytest.raises(BrokenBundle, match=r"reference\.json cannot be read"):
        read_reference(folder, manifest)


def test_images_that_are_all_alike_leave_one_edge() -> None:
    black = reference_of(np.zeros((20, 8, 8, 3), np.uint8), PROBABILITIES[:20]).measures["saturation"]
    assert black == Distribution((0.0,), (20, 0))
    assert black.count(np.array([0.0, 0.1, 9.0])).tolist() == [1, 2], "colour among black ones is seen"


def test_bins_have_names() -> None:
    assert Distribution((1.0, 2.5), (0, 0, 0)).names == ["at most 1", "1 to 2.5", "above 2.5"]
    assert Distribution((), (0, 0)).names == ["0", "1"]


def test_a_class_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="3 is none of them"):
        Distribution((), (1, 2, 3)).count(np.array([0, 3]))
