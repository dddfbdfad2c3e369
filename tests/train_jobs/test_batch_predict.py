"""Many images through actors on the cluster: the answers of the graph, though a worker is killed."""

from __future__ import annotations

import csv
import functools
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from app.config import Home
from app.dataset_source import SourceFile, list_source
from app.errors import NotFound
from cluster.local import LocalCluster
from tests.app.image_trees import write_tree, write_zip
from tests.bundles import register_colours
from tests.cli.manta import assert_refused, manta, manta_json
from tests.serve_deployments.fakes import colour_png
from train_jobs.batch_predict import _loaded
from train_jobs.block_stream import through_actors

MODEL = "colours-in-bulk"

# Ray sets options of its own that it has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:`use_.*` is deprecated:DeprecationWarning")


@pytest.fixture(scope="module")
def home(cluster: LocalCluster, cluster_home: Home) -> Home:
    register_colours(cluster_home, name=MODEL)
    return cluster_home


def test_a_zip_is_classified_in_order(home: Home, tmp_path: Path) -> None:
    files = {f"{number % 7}/{number:03}.png": colour_png(number % 3, 30, 20) for number in range(60)}
    source = write_zip(tmp_path / "photos.zip", files | {"0/bad.png": b"no image"})
    result = manta_json(home, "batch-predict", MODEL, source, "--out", tmp_path / "new" / "answers.csv")
    assert (result["images"], result["failed"]) == (61, 1)
    assert result["classes"] == {"red": 20, "green": 20, "blue": 20}
    assert result["out"] == str(tmp_path / "new" / "answers.csv")
    with Path(result["out"]).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == sorted([*files, "0/bad.png"])
    named = {row["file"]: row["class_name"] for row in rows}
    assert all(named[name] == ("red", "green", "blue")[int(name[2:5]) % 3] for name in files)
    assert named["0/bad.png"] == ""


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ((f"{MODEL}/99", "."), 3, "no version 99"),
        ((MODEL, ".", "--out", "answers.xlsx"), 2, "has to end with"),
        ((MODEL, "{empty}"), 2, "holds no images"),
        ((MODEL, "{bad}", "--out", "{out}"), 2, "none of the 2 images could be read"),
    ],
)
def test_what_cannot_be_classified(home: Home, tmp_path: Path, arguments: Sequence[str], code: int, text: str) -> None:
    write_tree(tmp_path / "empty", {"notes.txt": b""})
    write_tree(tmp_path / "bad", {"a.png": b"", "b.png": b"no image"})
    places = {"empty": tmp_path / "empty", "bad": tmp_path / "bad", "out": tmp_path / "out.csv"}
    given = [each.format(**places) for each in arguments]
    assert_refused(manta(home, "batch-predict", *given), code, text)


def _killed_once(mark: Path) -> Callable[[Sequence[int]], list[int]]:
    """An actor's work; the first of all to see the number 7 dies of it, as by the kernel's hand."""

    def work(block: Sequence[int]) -> list[int]:
        if 7 in block and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return [-number for number in block]

    return work


@pytest.mark.minutes
def test_a_worker_that_is_killed_loses_nothing(ray_driver: LocalCluster, tmp_path: Path) -> None:
    blocks = [range(start, start + 3) for start in range(0, 30, 3)]
    answers = through_actors(blocks, functools.partial(_killed_once, tmp_path / "killed"), cpus=0.2, at_once=2)
    assert [number for answer in answers for number in answer] == [-number for number in range(30)]
    assert (tmp_path / "killed").exists()


def test_what_a_worker_cannot_load_is_said_once_and_clearly(ray_driver: LocalCluster, tmp_path: Path) -> None:
    files: Sequence[SourceFile] = list_source(write_tree(tmp_path / "images", {"a.png": colour_png(0)})).files
    make = functools.partial(_loaded, tmp_path / "nowhere", "fp32", 1, tmp_path)
    with pytest.raises(NotFound, match="MANTA_HOME has to be shared storage"):
        list(through_actors([files] * 4, make, cpus=0.2, at_once=1))
    with pytest.raises(NotFound, match="images have to lie on shared storage"):
        _loaded(tmp_path, "fp32", 1, tmp_path / "nowhere")
