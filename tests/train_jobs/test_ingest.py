"""Ray Data decodes what the threads decode: same pixels, same order, same files left out."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import pytest
from ray.data import DataContext

from app.dataset_decoding import blocks_of
from app.dataset_layout import read_layout
from app.dataset_source import list_source
from app.datasets import prepare
from app.errors import BadDataset
from cluster.local import LocalCluster
from tests.app.image_trees import class_files, entries, patch, png, write_tree, write_zip
from train_jobs.ingest import ray_decoder

# Ray sets options of its own that it has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:`use_.*` is deprecated:DeprecationWarning")

FILES = class_files("train/", {"a": 40, "b": 30}) | class_files("test/", {"a": 9, "b": 9})


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many tasks for few images."""
    monkeypatch.setattr("app.dataset_decoding._BLOCK_ITEMS", 7)


@pytest.mark.parametrize("as_zip", [False, True])
def test_the_same_data_set_as_with_threads(
    ray_driver: LocalCluster, small_blocks: None, tmp_path: Path, as_zip: bool
) -> None:
    files = FILES | {"train/a/zz.png": b"no image", "train/b/zz.png": png(1)[:-20], "test/b/zz.png": b""}
    source = str((write_zip if as_zip else write_tree)(tmp_path / "data.zip", files))
    with_threads = prepare(source, cache=tmp_path / "threads", max_bad=0.1)
    with_ray = prepare(source, cache=tmp_path / "ray", max_bad=0.1, decoder=ray_decoder())
    assert with_ray.digest == with_threads.digest
    assert with_ray.skipped == with_threads.skipped
    assert len(with_ray.skipped) == 3


def test_a_hostile_zip_stops_the_job_with_its_own_message(ray_driver: LocalCluster, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "data.zip", FILES)
    patch(path, "train/a/00.png", 24, struct.pack("<I", 10))
    with pytest.raises(BadDataset, match="unpacks to more"):
        prepare(str(path), cache=tmp_path / "cache", image_size=16, decoder=ray_decoder())
    assert entries(tmp_path / "cache") == []


def test_too_many_bad_files(ray_driver: LocalCluster, tmp_path: Path) -> None:
    source = write_tree(tmp_path / "data", FILES | {f"train/a/bad{n}.png": b"no" for n in range(9)})
    with pytest.raises(BadDataset, match="unreadable"):
        prepare(str(source), cache=tmp_path / "cache", decoder=ray_decoder(concurrency=1))
    assert entries(tmp_path / "cache") == []


def test_it_is_quiet_and_leaves_rays_settings_alone(
    ray_driver: LocalCluster, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    layout = read_layout(list_source(write_tree(tmp_path / "data", FILES)))
    before = DataContext.get_current()
    progress_bars, ordered = before.enable_progress_bars, before.execution_options.preserve_order
    blocks = list(ray_decoder()(blocks_of(layout.splits["train"], 16, 16), 16, 16))
    sys.stdout.flush()
    assert sum(len(block.labels) for block in blocks) == len(layout.splits["train"])
    assert capfd.readouterr() == ("", "")
    after = DataContext.get_current()
    assert (after.enable_progress_bars, after.execution_options.preserve_order) == (progress_bars, ordered)
