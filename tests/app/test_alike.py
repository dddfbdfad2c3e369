"""Which versions can stand in for each other."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from app.alike import check_alike
from app.artifact import Manifest
from app.errors import BadInput
from tests.bundles import write_colour_bundle


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return write_colour_bundle(tmp_path / "bundle")


def test_versions_with_the_same_labels_and_input_fit_together(manifest: Manifest) -> None:
    check_alike("4", dataclasses.replace(manifest, architecture="other"), "3", manifest)


def test_other_labels_are_refused_by_name(manifest: Manifest) -> None:
    more = dataclasses.replace(manifest, labels=(*manifest.labels, "violet"))
    with pytest.raises(BadInput, match=r"version 4 has other labels than version 3 \(violet\)"):
        check_alike("4", more, "3", manifest)
    turned = dataclasses.replace(manifest, labels=manifest.labels[::-1])
    with pytest.raises(BadInput, match="in another order"):
        check_alike("4", turned, "3", manifest)


def test_another_input_is_refused(manifest: Manifest) -> None:
    larger = dataclasses.replace(manifest, input=dataclasses.replace(manifest.input, height=16))
    with pytest.raises(BadInput, match=r"version 4 takes 16x8 images .* and version 3 8x8"):
        check_alike("4", larger, "3", manifest)
