"""digits and cifar10: what is in them, and what happens without a network."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest

from app import builtin_datasets
from app.datasets import check_source, prepare
from app.errors import BadDataset
from app.imaging import decode, encode_png


def test_digits(cache: Path) -> None:
    summary, dataset = check_source("digits"), prepare("digits", cache=cache)
    assert summary.labels == dataset.labels == tuple("0123456789")
    assert {name: len(getattr(dataset, name).labels) for name in summary.counts} == summary.counts
    assert summary.total == 1797
    assert dataset.input_size == (16, 16)
    assert not dataset.mirror_ok
    assert dataset.train.images.max() == 255
    assert (dataset.train.images[..., 0] == dataset.train.images[..., 2]).all()
    assert decode(encode_png(dataset.test.images[0])).tolist() == dataset.test.images[0].tolist()


def test_digits_are_the_same_every_time(tmp_path: Path) -> None:
    first, again = (prepare("digits", cache=tmp_path / name) for name in ("one", "two"))
    assert first.digest == again.digest


def fake_cifar10(downloads: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision's folder with 20 images a batch, and the checksums to match."""
    from torchvision.datasets import CIFAR10

    folder = downloads / CIFAR10.base_folder
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)

    def write(name: str, content: object) -> str:
        data = pickle.dumps(content)
        (folder / name).write_bytes(data)
        return hashlib.md5(data).hexdigest()

    def batch(name: str) -> tuple[str, str]:
        pixels = rng.integers(0, 256, (20, 3072), dtype=np.uint8)
        return name, write(name, {"data": pixels, "labels": [n % 10 for n in range(20)]})

    monkeypatch.setattr(CIFAR10, "train_list", [batch("data_batch_1"), batch("data_batch_2")])
    monkeypatch.setattr(CIFAR10, "test_list", [batch("test_batch")])
    names = write("batches.meta", {"label_names": list(builtin_datasets.CIFAR10_LABELS)})
    monkeypatch.setattr(CIFAR10, "meta", {"filename": "batches.meta", "key": "label_names", "md5": names})


def test_cifar10_from_torchvisions_folder(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cifar10(cache / "downloads", monkeypatch)
    dataset = prepare("cifar10", cache=cache)
    assert [len(split) for split in (dataset.train, dataset.val, dataset.test)] == [30, 10, 20]
    assert dataset.input_size == (32, 32)
    assert dataset.labels[3] == "cat"
    assert dataset.mirror_ok


def test_cifar10_without_a_network_says_what_to_do(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import CIFAR10

    def no_network(_: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr(CIFAR10, "download", no_network)
    with pytest.raises(BadDataset, match=r"cannot be downloaded.*put cifar-10-batches-py into") as caught:
        prepare("cifar10", cache=cache)
    assert "\n" not in str(caught.value)
    assert not list(cache.glob("cifar10-*"))
