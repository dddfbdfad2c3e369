"""Two builders of one data set at once, one that is killed, and what they leave behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from app import datasets
from app.dataset_decoding import DecodedBlock, decode_with_threads
from app.dataset_layout import Item
from app.datasets import load, prepare
from tests.app.image_trees import entries


class Together:
    """A decoder that waits, with everything decoded and nothing published, until the other process is there too."""

    def __init__(self, barrier: Barrier) -> None:
        self._barrier = barrier

    def __call__(self, blocks: Sequence[Sequence[Item]], height: int, width: int) -> Iterator[DecodedBlock]:
        yield from decode_with_threads(blocks, height, width)
        self._barrier.wait(timeout=60)


def build(source: str, cache: str, barrier: Barrier, queue: multiprocessing.Queue[str]) -> None:
    queue.put(prepare(source, cache=Path(cache), decoder=Together(barrier)).digest)


def test_two_processes_build_the_same_data_set_at_once(flat: Path, cache: Path) -> None:
    context = multiprocessing.get_context("spawn")
    queue: multiprocessing.Queue[str] = context.Queue()
    arguments = (str(flat), str(cache), context.Barrier(2), queue)
    builders = [context.Process(target=build, args=arguments) for _ in range(2)]
    for builder in builders:
        builder.start()
    digests = {queue.get(timeout=120) for _ in builders}
    for builder in builders:
        builder.join(timeout=60)
    queue.close()
    assert [builder.exitcode for builder in builders] == [0, 0]
    assert len(digests) == 1
    (published,) = entries(cache)
    assert load(cache / published).digest in digests


def test_the_one_who_comes_second_keeps_the_first_ones_folder(flat: Path, cache: Path) -> None:
    """Both are decoding at the same moment; the other one is done first."""
    inner: list[datasets.Dataset] = []

    def overtaken(blocks: Sequence[Sequence[Item]], height: int, width: int) -> Iterator[DecodedBlock]:
        yield from decode_with_threads(blocks, height, width)
        if not inner:
            inner.append(prepare(str(flat), cache=cache))

    outer = prepare(str(flat), cache=cache, decoder=overtaken)
    assert outer.digest == inner[0].digest
    assert entries(cache) == [outer.folder.name]


STUCK_BUILDER = """
import sys, time
from pathlib import Path
from app.dataset_decoding import decode_with_threads
from app.datasets import load, prepare

def stuck(blocks, height, width):
    yield from decode_with_threads(blocks, height, width)
    print("decoding", flush=True)
    time.sleep(600)

prepare(sys.argv[1], cache=Path(sys.argv[2]), decoder=stuck)
"""


def test_a_killed_builder_leaves_no_half_and_is_cleaned_up(flat: Path, cache: Path) -> None:
    command = [sys.executable, "-c", STUCK_BUILDER, str(flat), str(cache)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as builder:
        assert builder.stdout is not None
        assert builder.stdout.readline() == "decoding\n"
        (leftover,) = cache.iterdir()
        other = prepare("digits", cache=cache)
        assert leftover.exists(), "a living builder's folder was removed"
        builder.send_signal(signal.SIGKILL)
        builder.wait(timeout=30)
    dataset = prepare(str(flat), cache=cache)
    assert sum(map(len, (dataset.train, dataset.val, dataset.test))) == 30
    assert entries(cache) == sorted([dataset.folder.name, other.folder.name])


def test_leftovers_of_another_machine_wait_a_day(flat: Path, cache: Path) -> None:
    young, old = (cache / f".building-elsewhere-1-1.0-{name}" for name in ("young", "old"))
    for folder in (young, old):
        folder.mkdir(parents=True)
    yesterday = time.time() - 25 * 3600
    os.utime(old, (yesterday, yesterday))
    prepare(str(flat), cache=cache)
    assert young.exists()
    assert not old.exists()


def test_an_error_in_the_middle_leaves_nothing(flat: Path, cache: Path) -> None:
    def fails(blocks: Sequence[Sequence[Item]], height: int, width: int) -> Iterator[DecodedBlock]:
        yield from decode_with_threads(blocks[:1], height, width)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        prepare(str(flat), cache=cache, decoder=fails)
    assert entries(cache) == []
