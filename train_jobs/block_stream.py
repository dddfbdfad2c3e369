"""Blocks of work through Ray Data, as a stream, in order: tasks or actors take one block each, and give one answer.

Blocks and answers travel as opaque bytes, which neither side copies or converts; rows of images would be, on their way
to Arrow and back.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import pyarrow as pa
import ray.data
from ray.data import ActorPoolStrategy, DataContext, Dataset, TaskPoolStrategy

from app.errors import MantaError

B = TypeVar("B")
A = TypeVar("A")

_COLUMN = "pickled"


def through_tasks(blocks: Sequence[B], work: Callable[[B], A], *, cpus: float, at_once: int) -> Iterator[A]:
    """work: a function that tasks can import. cpus: logical, of each task. Raises the MantaError that a block met."""
    return _stream(
        blocks,
        lambda data: data.map_batches(
            _in_task,  # type: ignore[arg-type]  # Ray's type asks for a function without keyword arguments
            fn_kwargs={"work": work},
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=cpus,
            compute=TaskPoolStrategy(_bounded(at_once, blocks)),
        ),
    )


def through_actors(
    blocks: Sequence[B], make: Callable[[], Callable[[B], A]], *, cpus: float, at_once: int
) -> Iterator[A]:
    """make: called once in each actor, for what takes long to load. The rest is as in `through_tasks`.

    An actor that dies is started anew, and its block is given to another, as often as it takes.
    """
    return _stream(
        blocks,
        lambda data: data.map_batches(
            _Actor,
            fn_constructor_args=(make,),
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=cpus,
            compute=ActorPoolStrategy(size=_bounded(at_once, blocks)),
        ),
    )


def _bounded(at_once: int, blocks: Sequence[object]) -> int:
    return min(at_once, max(1, len(blocks)))


def _stream(blocks: Sequence[object], applied: Callable[[Dataset], Dataset]) -> Iterator[Any]:
    tables = [_one_row(pickle.dumps(block)) for block in blocks]
    with DataContext.current(_quiet_context()):
        answers = applied(ray.data.from_arrow(tables))
    with _quiet_logger():
        for table in answers.iter_batches(batch_size=None, batch_format="pyarrow"):
            yield from map(_opened, table[_COLUMN])


def _one_row(content: bytes | pickle.PickleBuffer) -> pa.Table:
    return pa.table({_COLUMN: pa.array([content], pa.large_binary())})


def _in_task(rows: pa.Table, *, work: Callable[[Any], Any]) -> pa.Table:
    (packed,) = rows[_COLUMN].to_pylist()
    try:
        answer = work(pickle.loads(packed))
    except MantaError as error:  # not raised: Ray would log a traceback
        answer = error
    return _one_row(pickle.dumps(answer, protocol=5))


class _Actor:
    def __init__(self, make: Callable[[], Callable[[Any], Any]]) -> None:
        try:
            self._work = make()
        except MantaError as error:  # told with each block: a constructor that raises is tried again and again
            self._work = _raiser(error)

    def __call__(self, rows: pa.Table) -> pa.Table:
        return _in_task(rows, work=self._work)


def _raiser(error: MantaError) -> Callable[[Any], Any]:
    def refuse(_block: object) -> None:
        raise error

    return refuse


def _opened(answer: pa.LargeBinaryScalar) -> Any:
    """Raises what the block met."""
    opened = pickle.loads(answer.as_buffer())
    if isinstance(opened, MantaError):
        raise opened
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
