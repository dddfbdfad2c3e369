"""Decoding on a Ray cluster: the same blocks through Ray Data instead of this process's threads.

Each task reads its files itself, from shared storage, straight out of the zip where there is one;
only file names travel to it and only decoded blocks come back, as a stream, in order.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
from collections.abc import Iterator, Sequence

import cv2
import pyarrow as pa
import ray
import ray.data
from ray.data import DataContext, TaskPoolStrategy

from app.config import CPU
from app.dataset_decoding import DecodedBlock, Decoder, decode_block
from app.dataset_layout import Item
from app.errors import BadDataset
from train_jobs.cores import cluster_cores

_COLUMN = "pickled"


def ray_decoder(*, concurrency: int | None = None) -> Decoder:
    """A Decoder whose blocks are Ray Data tasks, in a process that is connected to Ray.

    concurrency: tasks at a time; None takes one for each real core that the cluster also declares.
    """

    def decode(blocks: Sequence[Sequence[Item]], height: int, width: int) -> Iterator[DecodedBlock]:
        tables = [_one_row(pickle.dumps(tuple(block))) for block in blocks]
        with DataContext.current(_quiet_context()):
            answers = ray.data.from_arrow(tables).map_batches(
                _decode_rows,  # type: ignore[arg-type]  # Ray's type asks for a function without keyword arguments
                fn_kwargs={"height": height, "width": width},
                batch_size=None,
                batch_format="pyarrow",
                num_cpus=CPU.decode_task,
                compute=TaskPoolStrategy(min(concurrency or _tasks(), max(1, len(blocks)))),
            )
        with _quiet_logger():
            for table in answers.iter_batches(batch_size=None, batch_format="pyarrow"):
                yield from map(_opened, table[_COLUMN])

    return decode


def _tasks() -> int:
    """One for each core of the cluster, and no more than it declares."""
    return max(1, min(cluster_cores(), int(ray.cluster_resources().get("CPU", 1))))


def _one_row(content: bytes | pickle.PickleBuffer) -> pa.Table:
    """Opaque bytes, which neither side copies or converts; rows of images would be, on their way to Arrow and back."""
    return pa.table({_COLUMN: pa.array([content], pa.large_binary())})


def _decode_rows(rows: pa.Table, *, height: int, width: int) -> pa.Table:
    """Runs in a task: one pickled block of items -> one pickled DecodedBlock, or the BadDataset that it met."""
    cv2.setNumThreads(1)  # the tasks are the parallelism; more threads would only get in their way
    (items,) = rows[_COLUMN].to_pylist()
    answer: DecodedBlock | BadDataset
    try:
        answer = decode_block(pickle.loads(items), height, width)
    except BadDataset as error:  # not raised: Ray would log a traceback
        answer = error
    return _one_row(pickle.dumps(answer, protocol=5))


def _opened(answer: pa.LargeBinaryScalar) -> DecodedBlock:
    """Raises BadDataset when the task found the source itself to be bad."""
    opened = pickle.loads(answer.as_buffer())
    if isinstance(opened, BadDataset):
        raise opened
    assert isinstance(opened, DecodedBlock)
    return opened


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
