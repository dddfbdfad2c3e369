"""Epochs and steps: what happens between two checkpoints, in one process or in any number of them.

Each process takes its slice of every global batch. What must be the same in all of them (the order of images,
their augmentation, when to checkpoint, when to stop early) follows from the settings, or is agreed upon.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from app.augment import Draws, Mixing, augment, draw, draw_mixing, joined, mixed
from app.batches import DeviceSplit, global_batches, steps_per_epoch
from app.checkpoint import EpochReport
from app.errors import Diverged
from app.objective import Batch, Objective
from app.parallel import average_buffers, of_first, rank, sum_over_processes, world_size
from app.resolution import epoch_size, resized
from app.settings import FitSettings
from app.train_state import EpochProgress, TrainState
from app.validation import evaluate

AGREEMENTS_PER_EPOCH = 20
"""How often within an epoch the processes agree on whether a checkpoint is due, and look at the loss."""
PROGRESS_EVERY_S = 5.0
AUGMENTED_PIXELS = 256 * 32 * 32
"""About as many as are augmented at once."""

T = TypeVar("T")

OnState = Callable[[TrainState, bool], None]
"""(state, whether a checkpoint of it is due)"""


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the loop tells its caller, in every process."""

    on_epoch: OnState = lambda _state, _due: None
    """After each epoch; a checkpoint is due after every `checkpoint_epochs` and after the last."""
    on_checkpoint: Callable[[TrainState], None] = lambda _: None
    """Within an epoch, when the last checkpoint is older than `checkpoint_minutes`."""
    on_progress: Callable[[float], None] = lambda _: None
    """Every few seconds: the share of the epoch that is done."""


@dataclass(frozen=True, slots=True)
class Share:
    """A process's part of a global batch, before its images are read: where they are mixed, its partners follow it."""

    rows: np.ndarray
    """int [n], or [2n]"""
    draws: Draws
    mixing: Mixing | None

    def batch(self, images: torch.Tensor, labels: torch.Tensor) -> Batch:
        """Of the augmented images, and labels, of `rows`."""
        if self.mixing is None:
            return Batch(self.rows, self.draws.mirrored, images, labels)
        own, partners = images.chunk(2)
        own_labels, partner_labels = labels.chunk(2)
        count = len(own)
        return Batch(
            self.rows[:count],
            self.draws.mirrored[:count],
            mixed(own, partners, self.mixing),
            own_labels,
            partner_labels,
            self.mixing.share,
        )


@dataclass(slots=True, kw_only=True)
class TrainingLoop:
    """`run` trains to the end of `settings.epochs`, or until it stops early."""

    settings: FitSettings
    """With epochs and batch size."""
    state: TrainState
    network: nn.Module
    """`state.model` as it is trained: compiled, or wrapped for data parallelism."""
    train: DeviceSplit
    val: DeviceSplit
    objective: Objective
    min_size: int
    """Smallest height and width in pixels that the network takes."""
    flip: bool
    precision: AbstractContextManager[Any]
    hooks: Hooks
    _checkpointed: float = 0.0
    """When the last checkpoint was handed out, on the monotonic clock."""

    def run(self) -> None:
        self._checkpointed = time.monotonic()
        while not self._ended():
            self._train_epoch()
            self._close_epoch()

    def _ended(self) -> bool:
        assert self.settings.epochs is not None
        if self.state.epoch >= self.settings.epochs:
            return True
        patience = self.settings.patience
        if patience is None or not self.state.history:
            return False
        return self.state.epoch - self.state.best.epoch >= patience

    @property
    def _steps(self) -> int:
        assert isinstance(self.settings.batch_size, int)
        return steps_per_epoch(len(self.train), self.settings.batch_size)

    def _train_epoch(self) -> None:
        state, progress = self.state, self.state.progress
        self.network.train()
        # Sums over all processes before an interruption are held by the first one.
        before = progress.totals if rank() == 0 else [0.0, 0.0, 0.0]
        totals = torch.tensor(before, dtype=torch.float64, device=self.train.device)
        clock, told = Clock(), time.monotonic()
        for step, batch in self._timed(self._loaded(first=progress.step)):
            seed_dropout(step_seed(self.settings.seed, state.epoch, step), self.train.device)
            totals += self._step(batch)
            progress.step = step + 1
            if rank() == 0 and time.monotonic() - told >= PROGRESS_EVERY_S:
                told = time.monotonic()
                self.hooks.on_progress(progress.step / self._steps)
            if self._agrees_here(progress.step):
                clock.lap(progress)
                self._agree(totals)
        clock.lap(progress)
        progress.totals = sum_over_processes(totals).tolist()

    def _timed(self, batches: Iterator[T]) -> Iterator[T]:
        """The same, with the time that each takes to come added to the epoch's."""
        while True:
            waiting = time.perf_counter()
            loaded = next(batches, None)
            self.state.progress.data_seconds += time.perf_counter() - waiting
            if loaded is None:
                return
            yield loaded

    def _batches(self, first: int) -> Iterator[tuple[int, np.ndarray]]:
        assert isinstance(self.settings.batch_size, int)
        epoch = global_batches(
            len(self.train), self.settings.batch_size, seed=self.settings.seed, epoch=self.state.epoch
        )
        return ((step, index) for step, index in enumerate(epoch) if step >= first)

    def _loaded(self, first: int) -> Iterator[tuple[int, Batch]]:
        """(step, this process's slice of its global batch, augmented) from step `first` on.

        Small batches are augmented several at a time: most operations on one take longer to begin than to do.
        """
        height, width = self.train.image_size
        assert isinstance(self.settings.batch_size, int)
        at_once = max(1, AUGMENTED_PIXELS // (self.settings.batch_size // world_size() * height * width))
        batches = self._batches(first)
        while steps := list(itertools.islice(batches, at_once)):
            shares = [self._share(step, index) for step, index in steps]
            rows, draws = np.concatenate([share.rows for share in shares]), joined([share.draws for share in shares])
            inputs, labels = self._augmented(rows, draws)
            sizes = [len(share.rows) for share in shares]
            parts = zip(inputs.split(sizes), labels.split(sizes), strict=True)
            for (step, _), share, (some_inputs, some_labels) in zip(steps, shares, parts, strict=True):
                yield step, share.batch(some_inputs, some_labels)

    def _share(self, step: int, index: np.ndarray) -> Share:
        settings, mine = self.settings, slice(rank(), None, world_size())
        generator = np.random.default_rng((settings.seed, self.state.epoch, step))
        draws = draw(settings, index, generator, flip=self.flip, epoch=self.state.epoch)
        mixing = draw_mixing(settings, len(index), self.train.image_size, generator)
        if mixing is None:
            return Share(index[mine], draws.of(mine), None)
        places = np.concatenate([np.arange(len(index))[mine], mixing.partner[mine]])
        return Share(index[places], draws.of(places), mixing)

    def _augmented(self, rows: np.ndarray, draws: Draws) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = self.train.take(rows)
        return augment(images, draws.to(self.train.device), self.settings), labels

    def _step(self, batch: Batch) -> torch.Tensor:
        """One optimizer step. Returns float64 [3]: sum of the loss, correct answers, images."""
        state, sums = self.state, torch.zeros(3, dtype=torch.float64, device=self.train.device)
        state.optimizer.zero_grad(set_to_none=True)
        parts = list(self._parts(batch))
        size = epoch_size(self.settings, self.train.image_size, state.epoch, least=self.min_size)
        for number, part in enumerate(parts, 1):
            with self._synchronized(last=number == len(parts)):
                with self.precision:
                    logits = self.network(resized(part.inputs, size))
                    loss = self.objective(logits, part)
                state.scaler.scale(loss * (len(part) / len(batch))).backward()
            with torch.no_grad():
                correct = (logits.argmax(1) == part.labels).sum()
                count = part.labels.new_tensor(len(part))
                sums += torch.stack([loss.detach().double() * len(part), correct, count])
        if self.settings.clip is not None:
            state.scaler.unscale_(state.optimizer)
            nn.utils.clip_grad_norm_(state.model.parameters(), self.settings.clip)
        state.scaler.step(state.optimizer)
        scale = state.scaler.get_scale()
        state.scaler.update()
        if state.scaler.get_scale() >= scale:  # with fp16 a step whose gradients overflow is left out
            state.schedule.step()
        if state.average is not None:
            state.average.update(state.model)
        return sums

    def _parts(self, batch: Batch) -> Iterator[Batch]:
        size = max(2, math.ceil(len(batch) / self.settings.accumulate))
        starts = list(range(0, len(batch), size))
        if len(starts) > 1 and len(batch) - starts[-1] < 2:  # batch normalization cannot do with one image
            starts.pop()
        for start, end in zip(starts, [*starts[1:], len(batch)], strict=True):
            yield batch.part(slice(start, end))

    def _synchronized(self, *, last: bool) -> AbstractContextManager[Any]:
        """Processes exchange gradients once a step, with its last part."""
        if isinstance(self.network, DistributedDataParallel) and not last:
            return self.network.no_sync()
        return nullcontext()

    def _agrees_here(self, step: int) -> bool:
        every = max(1, self._steps // AGREEMENTS_PER_EPOCH)
        return step % every == 0 and step < self._steps

    def _agree(self, totals: torch.Tensor) -> None:
        """In every process at the same step: stops a run that diverged, hands out a checkpoint that is due."""
        sums = sum_over_processes(totals.clone())
        self._require_finite(float(sums[0]))
        if not of_first(time.monotonic() - self._checkpointed > 60 * self.settings.checkpoint_minutes):
            return
        average_buffers(self.state.model)
        self.state.progress.totals = sums.tolist()
        self.hooks.on_checkpoint(self.state)
        self._checkpointed = time.monotonic()

    def _close_epoch(self) -> None:
        state, progress = self.state, self.state.progress
        lr = state.schedule.lr
        average_buffers(state.model)
        if state.average is not None:
            average_buffers(state.average.model)
        loss, correct, count = progress.totals
        train_loss, train_accuracy = loss / count, correct / count
        val_loss, val_accuracy = evaluate(state.evaluated, self.val, precision=self.precision)
        self._require_finite(train_loss, val_loss)
        state.schedule.observe(val_loss)
        state.add(
            EpochReport(
                epoch=state.epoch + 1,
                lr=lr,
                train_loss=train_loss,
                train_accuracy=train_accuracy,
                val_loss=val_loss,
                val_accuracy=val_accuracy,
                seconds=progress.seconds,
                cpu_seconds=progress.cpu_seconds,
                images_per_second=len(self.train) / progress.seconds,
                compute_share=1 - progress.data_seconds / progress.seconds,
                ended=time.time(),
                workers=world_size(),
            )
        )
        due = state.epoch % self.settings.checkpoint_epochs == 0 or self._ended()
        self.hooks.on_epoch(state, due)
        if due:
            self._checkpointed = time.monotonic()

    def _require_finite(self, *losses: float) -> None:
        for loss in losses:
            if not math.isfinite(loss):
                raise Diverged(
                    f"training diverged: the loss of epoch {self.state.epoch + 1} is {loss}; try a lower --lr"
                )


class Clock:
    """Adds the time since it was last asked to an epoch's."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def lap(self, progress: EpochProgress) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        progress.seconds += wall - self._wall
        progress.cpu_seconds += cpu - self._cpu
        self._wall, self._cpu = wall, cpu


def step_seed(seed: int, epoch: int, step: int) -> int:
    """Dropout differs in every step and process, and not with where a run was interrupted."""
    return int(np.random.SeedSequence((seed, epoch, step, rank())).generate_state(1)[0])


def seed_dropout(seed: int, device: torch.device) -> None:
    """`torch.manual_seed` without the devices that are not used: for CUDA it takes a traceback each time, 0.8 ms."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
