"""The training loop: plain torch, no Ray. One process, or any number under torch.distributed.

    python -m app.training --data digits --epochs 5 --out /tmp/digits

Every process calls `fit` with the same settings and dataset. Each takes its slice of every global
batch, so that the steps, and nearly the result, are the same for any number of processes.
"""

from __future__ import annotations

import os

if __name__ == "__main__":
    # Read when torch loads OpenMP. Its threads otherwise spin while they wait, and where other programs want the
    # cores too, an epoch takes ten times as long (docs/PERFORMANCE.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import math
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from app import checkpoint
from app.augment import augment
from app.batches import (
    DeviceSplit,
    OnProgress,
    channel_statistics,
    global_batches,
    reporting,
    steps_per_epoch,
    with_defaults,
)
from app.checkpoint import EpochReport, ModelCard, best_epoch
from app.config import Home
from app.curves import draw_curves
from app.datasets import Dataset, prepare
from app.errors import BadInput, BrokenBundle, MantaError
from app.models import ImageClassifier, build_classifier, to_floats
from app.optimizer import decay_groups, warmup_cosine
from app.options import run_job
from app.parallel import average_buffers, rank, sum_over_processes, world_size
from app.settings import FitSettings, LoopSettings

EVAL_BATCH = 512


@dataclass(slots=True)
class TrainState:
    """All that changes while training. `save` and `restore` carry every part of it."""

    card: ModelCard
    model: ImageClassifier
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    scaler: torch.amp.GradScaler
    epoch: int = 0
    """Epochs completed."""
    history: list[EpochReport] = field(default_factory=list)

    @property
    def best(self) -> EpochReport:
        return best_epoch(self.history)

    def save(self, path: Path) -> None:
        checkpoint.save(
            {
                "card": asdict(self.card),
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scheduler": self.scheduler.state_dict(),
                "scaler": self.scaler.state_dict(),
                "epoch": self.epoch,
                "history": [asdict(report) for report in self.history],
            },
            path,
        )

    def restore(self, path: Path) -> None:
        """Raises NotFound, BrokenBundle, or BadInput for a checkpoint of another model."""
        content = checkpoint.load(path)
        try:
            if ModelCard(**content["card"]) != self.card:
                raise BadInput(f"checkpoint {path} belongs to another model or other classes")
            self.model.load_state_dict(content["model"])
            self.optimizer.load_state_dict(content["optimizer"])
            self.scheduler.load_state_dict(content["scheduler"])
            self.scaler.load_state_dict(content["scaler"])
            self.epoch = content["epoch"]
            self.history = [EpochReport(**report) for report in content["history"]]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise BrokenBundle(f"checkpoint {path} does not hold the state of a training run: {error!r}") from error


OnEpoch = Callable[[TrainState], None]


def fit(
    settings: FitSettings,
    dataset: Dataset,
    *,
    device: torch.device,
    resume: Path | None = None,
    on_epoch: OnEpoch = lambda _: None,
    on_progress: OnProgress = lambda _: None,
) -> TrainState:
    """Trains to `settings.epochs` and calls `on_epoch` in every process after each of them.

    `on_progress` hears every few seconds which share of the epoch is done.

    Raises BadInput when the images do not suit the architecture or the batch size, and MantaError when
    the loss is no number any more.
    """
    count = len(dataset.train)
    settings = with_defaults(settings, count, world_size())
    assert settings.epochs is not None
    assert settings.batch_size is not None
    if min(count, settings.batch_size) < 2 * world_size():
        raise BadInput(
            f"{count} training images in batches of {settings.batch_size} are too few for {world_size()} workers"
        )
    torch.manual_seed(settings.seed)  # the same weights in every process
    train, val = DeviceSplit(dataset.train, device), DeviceSplit(dataset.val, device)
    state = new_state(settings, dataset, device, steps=settings.epochs * steps_per_epoch(count, settings.batch_size))
    if resume is not None:
        state.restore(resume)
    model = (
        DistributedDataParallel(state.model, broadcast_buffers=False) if distributed.is_initialized() else state.model
    )
    flip = dataset.mirror_ok if settings.flip is None else settings.flip
    precision = autocast(settings.precision, device)
    while state.epoch < settings.epochs:
        started = time.perf_counter()
        torch.manual_seed(epoch_seed(settings.seed, state.epoch))
        lr = float(state.scheduler.get_last_lr()[0])
        batches = global_batches(count, settings.batch_size, seed=settings.seed, epoch=state.epoch)
        batches = reporting(batches, steps_per_epoch(count, settings.batch_size), on_progress)
        loss, accuracy = train_one_epoch(model, state, train, batches, settings, flip=flip, precision=precision)
        seconds = time.perf_counter() - started
        average_buffers(state.model)
        val_loss, val_accuracy = evaluate(state.model, val, precision=precision)
        state.epoch += 1
        if not math.isfinite(val_loss):
            raise MantaError(f"training diverged: the loss of epoch {state.epoch} is {val_loss}; try a lower --lr")
        state.history.append(
            EpochReport(
                epoch=state.epoch,
                lr=lr,
                train_loss=loss,
                train_accuracy=accuracy,
                val_loss=val_loss,
                val_accuracy=val_accuracy,
                seconds=seconds,
                images_per_second=count / seconds,
            )
        )
        on_epoch(state)
    return state


def epoch_seed(seed: int, epoch: int) -> int:
    """Augmentation and dropout differ in every epoch and process, and not with where a run was interrupted."""
    return int(np.random.SeedSequence((seed, epoch, rank())).generate_state(1)[0])


def new_state(settings: FitSettings, dataset: Dataset, device: torch.device, *, steps: int) -> TrainState:
    """steps: optimizer steps of the whole run, which the learning rate follows."""
    mean, std = channel_statistics(dataset.train.images)
    model = build_classifier(
        settings.model, len(dataset.labels), dataset.input_size, mean=mean, std=std, dropout=settings.dropout
    ).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(decay_groups(model, settings.weight_decay), lr=settings.lr)
    return TrainState(
        card=ModelCard(architecture=settings.model, labels=dataset.labels, input_size=dataset.input_size),
        model=model,
        optimizer=optimizer,
        scheduler=warmup_cosine(optimizer, total=steps, warmup=settings.warmup),
        scaler=torch.amp.GradScaler(device.type, enabled=settings.precision == "fp16"),
    )


def train_one_epoch(
    model: nn.Module,
    state: TrainState,
    split: DeviceSplit,
    batches: Iterable[np.ndarray],
    settings: FitSettings,
    *,
    flip: bool,
    precision: AbstractContextManager[Any],
) -> tuple[float, float]:
    """One pass over these global batches of row numbers. Returns mean loss and accuracy over all processes."""
    model.train()
    totals = torch.zeros(3, dtype=torch.float64, device=split.device)  # loss, correct, count
    for index in batches:
        images, labels = split.take(index[rank() :: world_size()])
        inputs = augment(images, settings, flip=flip).contiguous(memory_format=torch.channels_last)
        with precision:
            logits = model(inputs)
            loss = functional.cross_entropy(logits, labels, label_smoothing=settings.label_smoothing)
        state.optimizer.zero_grad(set_to_none=True)
        state.scaler.scale(loss).backward()
        state.scaler.step(state.optimizer)
        scale = state.scaler.get_scale()
        state.scaler.update()
        if state.scaler.get_scale() >= scale:  # with fp16 a step whose gradients overflow is left out
            state.scheduler.step()
        with torch.no_grad():
            correct = (logits.argmax(1) == labels).sum()
            totals += torch.stack([loss.detach().double() * len(labels), correct, labels.new_tensor(len(labels))])
    return _means(totals)


@torch.no_grad()
def evaluate(model: nn.Module, split: DeviceSplit, *, precision: AbstractContextManager[Any]) -> tuple[float, float]:
    """Mean cross-entropy and accuracy over the split; every image counts once, whatever the number of processes."""
    model.eval()
    totals = torch.zeros(3, dtype=torch.float64, device=split.device)
    mine = np.arange(rank(), len(split), world_size())
    for start in range(0, len(mine), EVAL_BATCH):
        images, labels = split.take(mine[start : start + EVAL_BATCH])
        with precision:
            logits = model(to_floats(images).contiguous(memory_format=torch.channels_last)).float()
        loss = functional.cross_entropy(logits, labels, reduction="sum")
        totals += torch.stack([loss.double(), (logits.argmax(1) == labels).sum(), labels.new_tensor(len(labels))])
    return _means(totals)


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """The reusable autocast context that `precision` asks for on this device."""
    if precision == "auto":
        precision = "bf16" if _has_fast_bf16(device) else "fp32"
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=precision != "fp32")


def _has_fast_bf16(device: torch.device) -> bool:
    """On a CPU only AMX makes bf16 faster: measured 0.8 times the speed of fp32 without it (docs/PERFORMANCE.md)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.cpu._is_amx_tile_supported()


def _means(totals: torch.Tensor) -> tuple[float, float]:
    loss, correct, count = sum_over_processes(totals).tolist()
    return loss / count, correct / count


def main(settings: LoopSettings) -> None:
    dataset = prepare(
        settings.data,
        cache=Home.from_env().datasets,
        image_size=settings.image_size,
        max_bad=settings.max_bad_share,
        seed=settings.seed,
    )
    out = Path(settings.out)
    last, best = out / "last.pt", out / "best.pt"

    def on_epoch(state: TrainState) -> None:
        report = state.history[-1]
        print(
            f"epoch {report.epoch:>3}  loss {report.train_loss:.3f}  train {report.train_accuracy:.2%}  "
            f"val {report.val_accuracy:.2%}  {report.images_per_second:,.0f} images/s",
            flush=True,
        )
        state.save(last)
        if state.best == report:
            state.save(best)

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    state = fit(
        settings,
        dataset,
        device=device,
        resume=last if settings.resume else None,
        on_epoch=on_epoch,
        on_progress=lambda share: print(f"  {share:.0%} of the epoch", flush=True),
    )
    draw_curves(state.history, out / "curves.png", f"{settings.model} on {dataset.name}")
    print(f"best epoch {state.best.epoch}: validation accuracy {state.best.val_accuracy:.2%}, in {best}")


if __name__ == "__main__":
    run_job(LoopSettings, main)
