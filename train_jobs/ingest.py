"""Decoding on a Ray cluster: the same blocks through Ray Data instead of this process's threads.

Each task reads its files itself, from shared storage, straight out of the zip where there is one;
only file names travel to it and only decoded blocks come back.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import cv2

from app.config import CPU
from app.dataset_decoding import DecodedBlock, Decoder, decode_block
from app.dataset_layout import Item
from train_jobs.block_stream import through_tasks
from train_jobs.cores import tasks_at_once


def ray_decoder(*, concurrency: int | None = None) -> Decoder:
    """A Decoder whose blocks are Ray Data tasks, in a process that is connected to Ray.

    concurrency: tasks at a time; None takes one for each real core that the cluster also declares.
    """

    def decode(blocks: Sequence[Sequence[Item]], height: int, width: int) -> Iterator[DecodedBlock]:
        return through_tasks(
            [tuple(block) for block in blocks],
            functools.partial(_decode, height=height, width=width),
            cpus=CPU.decode_task,
            at_once=concurrency or tasks_at_once(),
        )

    return decode


def _decode(items: Sequence[Item], *, height: int, width: int) -> DecodedBlock:
    cv2.setNumThreads(1)  # the tasks are the parallelism; more threads would only get in their way
    return decode_block(items, height, width)
