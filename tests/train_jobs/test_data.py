"""The data that a run goes on with."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from app.config import Home
from app.datasets import Dataset, prepare
from app.errors import BadInput
from app.settings import DataSettings
from tests.app.image_trees import class_files, write_tree
from train_jobs import data
from train_jobs.data import dataset_to_train_on


def test_a_run_goes_on_with_the_images_it_began_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """New images are drawn into splits anew: what was for training would be for testing."""
    home = Home(tmp_path / "home")
    settings = DataSettings(data=str(write_tree(tmp_path / "pets", class_files("", {"cat": 20, "dog": 20}))))

    def without_ray(settings: DataSettings, home: Home) -> Dataset:
        return prepare(settings.data, cache=home.datasets)

    monkeypatch.setattr(data, "prepare_on_cluster", without_ray)
    first = dataset_to_train_on(settings, home)
    write_tree(tmp_path / "pets", class_files("", {"fox": 20}))
    assert dataset_to_train_on(settings, home, digest=first.digest).labels == ("cat", "dog"), "they are cached"
    shutil.rmtree(first.folder)
    with pytest.raises(BadInput, match="are not those of the beginning any more"):
        dataset_to_train_on(settings, home, digest=first.digest)
    shutil.rmtree(tmp_path / "pets/fox")
    assert dataset_to_train_on(settings, home, digest=first.digest).digest == first.digest, "the same content"
