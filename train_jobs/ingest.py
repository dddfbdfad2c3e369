"""Decoding on a Ray cluster: the same blocks through Ray Data instead of this process's threads.

Each task reads its files itself, from shared storage, straight out of the zip where there is one;
only file names travel to it and only decoded blocks come back, as a stream, in order.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import pyarrow as pa
import ray
import ray.data
from ray.data import DataContext, TaskPoolStrategy

from app.config import CPU
from app.dataset_decoding import BadFile, DecodedBlock, Decoder, decode_block
from app.dataset_layout import Item
from app.errors import BadDataset

_IMAGE, _BAD_FILE, _BAD_SOURCE = 0, 1, 2
"""What a row of a task's answer is."""


def ray_decoder(*, concurrency: int | None = None) -> Decoder:
    """A Decoder whose blocks are Ray Data tasks, in a process that is connected to Ray.

    concurrency: tasks at a time; None takes one for each real core that the cluster also declares.
    """

    def decode(blocks: Sequence[Sequence[Item]], height: int, width: int) -> Iterator[DecodedBlock]:
        tables = [pa.table({"items": [pickle.dumps(tuple(block))]}) for block in blocks]
        with DataContext.current(_quiet_context()):
            rows = ray.data.from_arrow(tables).map_batches(
                _decode_rows,  # type: ignore[arg-type]  # Ray's type asks for a function without keyword arguments
                fn_kwargs={"height": height, "width": width},
                batch_size=None,
                batch_format="numpy",
                num_cpus=CPU.decode_task,
                compute=TaskPoolStrategy(min(concurrency or _real_cores(), max(1, len(blocks)))),
            )
        with _quiet_logger():
            for batch in rows.iter_batches(batch_size=None, batch_format="numpy"):
                yield _decoded(batch)

    return decode


def _real_cores() -> int:
    """Cores of the cluster. Logical CPUs are only tickets and may be more; nodes are taken as alike."""
    nodes = sum(node["Alive"] for node in ray.nodes())
    declared = int(ray.cluster_resources().get("CPU", 1))
    return max(1, min(declared, nodes * (os.cpu_count() or 1)))


def _decode_rows(batch: dict[str, np.ndarray], *, height: int, width: int) -> dict[str, np.ndarray]:
    """Runs in a task: pickled blocks of items -> one row for each image, bad file or bad source."""
    cv2.setNumThreads(1)  # the tasks are the parallelism; more threads would only get in their way
    decoded: list[DecodedBlock] = []
    failures: list[tuple[int, str, str]] = []
    for pickled in batch["items"]:
        try:
            block = decode_block(pickle.loads(pickled), height, width)
        except BadDataset as error:  # as a row: Ray would log a traceback for an exception
            failures.append((_BAD_SOURCE, "", str(error)))
        else:
            decoded.append(block)
            failures += [(_BAD_FILE, bad.path, bad.reason) for bad in block.bad]
    images = sum(len(block.labels) for block in decoded)
    blank = np.zeros((len(failures), height, width, 3), np.uint8)
    return {
        "image": np.concatenate([*(block.images for block in decoded), blank]),
        "label": np.concatenate([*(block.labels for block in decoded), np.zeros(len(failures), np.int64)]),
        "kind": np.array([_IMAGE] * images + [kind for kind, _, _ in failures], np.int8),
        "path": np.array([""] * images + [path for _, path, _ in failures], object),
        "reason": np.array([""] * images + [reason for _, _, reason in failures], object),
    }


def _decoded(batch: dict[str, np.ndarray]) -> DecodedBlock:
    """Raises BadDataset when a task found the source itself to be bad."""
    kind = batch["kind"]
    for reason in batch["reason"][kind == _BAD_SOURCE]:
        raise BadDataset(str(reason))
    bad = zip(batch["path"][kind == _BAD_FILE], batch["reason"][kind == _BAD_FILE], strict=True)
    good = kind == _IMAGE
    return DecodedBlock(
        batch["image"] if good.all() else batch["image"][good],
        batch["label"][good],
        tuple(BadFile(str(path), str(reason)) for path, reason in bad),
    )


def _quiet_context() -> DataContext:
    """Blocks in order, and no progress bars or plan listings, which would bury a job's own lines."""
    context = DataContext.get_current().copy()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    return context


@contextlib.contextmanager
def _quiet_logger() -> Iterator[None]:
    logger = logging.getLogger("ray.data")
    level = logger.level
    logger.setLevel(logging.ERROR)  # Ray warns that its progress bars are off
    try:
        yield
    finally:
        logger.setLevel(level)
