"""A checkpoint is complete or the one before it, and reading one executes nothing."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from app.checkpoint import EpochReport, ModelCard, load, read_model, save, weights_only
from app.errors import BadInput, BrokenBundle, NotFound
from app.models import build_classifier
from tests.app.epochs import epoch_report
from tests.app.image_trees import entries

CARD = ModelCard(architecture="custom_cnn", labels=("a", "b"), input_size=(8, 9))


def report(accuracy: float, loss: float) -> EpochReport:
    return epoch_report(1, val_loss=loss, val_accuracy=accuracy)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A model checkpoint in a folder of its own."""
    path = tmp_path / "run" / "last.pt"
    save(weights_only(CARD, build_classifier("custom_cnn", 2, (8, 9), mean=(1, 2, 3), std=(4, 5, 6))), path)
    return path


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    content = {"weights": torch.arange(5.0), "epoch": 3, "history": [{"loss": 0.1}], "labels": ("a", "ü")}
    save(content, tmp_path / "new" / "folder" / "x.pt")
    found = load(tmp_path / "new" / "folder" / "x.pt")
    assert torch.equal(found.pop("weights"), torch.arange(5.0))
    assert found == {"epoch": 3, "history": [{"loss": 0.1}], "labels": ("a", "ü")}
    assert entries(tmp_path / "new" / "folder") == ["x.pt"]


def test_a_model_is_built_again_from_its_checkpoint(path: Path) -> None:
    card, model = read_model(path)
    assert card == CARD
    assert not model.training
    assert model.mean.flatten().tolist() == [1, 2, 3]
    assert model(torch.zeros(1, 3, 8, 9)).shape == (1, 2)


KILLED_HALF_WAY = """
import os, signal, sys, torch
from pathlib import Path
from app import checkpoint

def half(content, file):
    file.write(b"half of it")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)

torch.save = half
checkpoint.save({"epoch": 9}, Path(sys.argv[1]))
"""
FULL_DISK = """
import resource, sys, torch
from pathlib import Path
from app import checkpoint

resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
checkpoint.save({"weights": torch.zeros(100_000)}, Path(sys.argv[1]))
"""


def run(code: str, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60, check=False
    )


def test_a_killed_save_leaves_the_old_file(path: Path) -> None:
    before = path.read_bytes()
    assert run(KILLED_HALF_WAY, path).returncode == -signal.SIGKILL
    assert path.read_bytes() == before
    assert len(entries(path.parent)) == 2, "the half that was written is beside it"


def test_a_full_disk_leaves_the_old_file_and_nothing_else(path: Path) -> None:
    before = path.read_bytes()
    failed = run(FULL_DISK, path)
    assert failed.returncode == 1, failed.stderr
    assert "File too large" in failed.stderr
    assert path.read_bytes() == before
    assert entries(path.parent) == ["last.pt"]


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_cut_file_is_broken(path: Path, keep: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(BrokenBundle, match=r"last\.pt cannot be read") as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no checkpoint at .*x\.pt"):
        load(tmp_path / "x.pt")


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("old_format", [False, True])
def test_nothing_in_a_file_is_executed(tmp_path: Path, old_format: bool) -> None:
    target, path = tmp_path / "executed", tmp_path / "evil.pt"
    if old_format:
        path.write_bytes(pickle.dumps({"model": Payload(target)}, protocol=2))
    else:
        torch.save({"model": Payload(target)}, path)
        assert zipfile.is_zipfile(path)
    with pytest.raises(BrokenBundle) as caught:
        read_model(path)
    assert not target.exists()
    assert "\n" not in str(caught.value)
    assert "weights_only=False" not in str(caught.value), "no advice to load it all the same"


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"card": {}, "model": {}},
        {"card": {"architecture": "custom_cnn", "labels": ("a",), "input_size": (8, 8)}},
        {"card": {"architecture": "custom_cnn", "labels": ("a",), "input_size": (8, 8)}, "model": {}},
        [1, 2],
        torch.zeros(3),
    ],
)
def test_a_file_without_a_model_is_broken(tmp_path: Path, content: Any) -> None:
    save(content, tmp_path / "x.pt")
    with pytest.raises(BrokenBundle, match="does not hold a Manta model"):
        read_model(tmp_path / "x.pt")


def test_weights_of_other_classes_are_broken(path: Path) -> None:
    content = load(path)
    content["card"]["labels"] = ("a", "b", "c")
    save(content, path)
    with pytest.raises(BrokenBundle, match="does not hold a Manta model"):
        read_model(path)


def test_an_architecture_of_a_later_version_is_named(path: Path) -> None:
    content = load(path)
    content["card"]["architecture"] = "vit_9000"
    save(content, path)
    with pytest.raises(BadInput, match="unknown model 'vit_9000'"):
        read_model(path)


def test_the_score_is_accuracy_first_and_loss_second() -> None:
    ordered = [report(0.5, 0.1), report(0.9, 3.0), report(0.9, 2.0), report(0.91, 9.0)]
    assert sorted(ordered, key=lambda r: r.score) == ordered
