"""Training in plain torch, no Ray. One process, or any number under torch.distributed.

    python -m app.training --data digits --epochs 5 --out /tmp/digits

Every process calls `fit` with the same settings and dataset. Each takes its slice of every global
batch, so that the steps, and nearly the result, are the same for any number of processes.
"""

from __future__ import annotations

import os

from app.openmp import WAITING

if __name__ == "__main__":
    os.environ.update({**WAITING, **os.environ})  # read when torch loads OpenMP

import dataclasses
import math
import shutil
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from app.allocator import keep_freed_memory
from app.batch_size import fastest_batch_size
from app.batches import DeviceSplit, channel_statistics, steps_per_epoch, with_defaults
from app.checkpoint import ModelCard, read_model
from app.config import Home
from app.curves import draw_curves
from app.datasets import Dataset, prepare
from app.ema import MovingAverage
from app.errors import BadInput
from app.models import ImageClassifier, architecture, build_classifier, to_floats
from app.objective import CrossEntropy, Objective
from app.optimizer import Schedule, build_optimizer
from app.options import run_job
from app.parallel import of_first, world_size
from app.precision import autocast
from app.prune import keep_zeros
from app.quantization_aware import round_layers
from app.recompute import recompute_blocks
from app.settings import FitSettings, LoopSettings
from app.settings.fit import AUTO
from app.train_state import TrainState, save_best, saved_batch_size
from app.training_loop import Hooks, TrainingLoop

__all__ = ["Hooks", "fit"]

PREPARATION_PIXELS = 2048 * 32 * 32
"""Of the training images from which a network that asks for some sets its first layer."""


def fit(
    settings: FitSettings,
    dataset: Dataset,
    *,
    device: torch.device,
    resume: Path | None = None,
    hooks: Hooks | None = None,
    objective: Objective | None = None,
    initial: Path | None = None,
) -> TrainState:
    """Trains to `settings.epochs`, or until it stops early; `hooks` hear of it in every process.

    objective: cross-entropy unless given. initial: checkpoint whose weights it begins with, instead of fresh ones.
    Raises BadInput when the images do not suit the architecture or the batch size, and Diverged when the
    loss is no number any more.
    """
    torch.manual_seed(settings.seed)  # the same weights in every process
    card, model = begun(settings, dataset, device, initial)
    if settings.quantization_aware:
        round_layers(model)
    settings = _resolved(settings, model, dataset, device, resume)
    assert settings.epochs is not None
    assert isinstance(settings.batch_size, int)
    count = len(dataset.train)
    state = new_state(
        settings, card, model, device, steps=settings.epochs * steps_per_epoch(count, settings.batch_size)
    )
    if card.sparse:
        keep_zeros(model, state.optimizer)
    if resume is not None:
        state.restore(resume)
    TrainingLoop(
        settings=settings,
        state=state,
        network=_prepared(state.model, settings),
        train=DeviceSplit(dataset.train, device),
        val=DeviceSplit(dataset.val, device),
        objective=objective or CrossEntropy(settings),
        min_size=architecture(settings.model).min_size,
        flip=dataset.mirror_ok if settings.flip is None else settings.flip,
        precision=autocast(settings.precision, device, settings.model),
        hooks=hooks or Hooks(),
    ).run()
    return state


def _resolved(
    settings: FitSettings, model: ImageClassifier, dataset: Dataset, device: torch.device, resume: Path | None
) -> FitSettings:
    """Settings with everything decided that may be left open, as it was decided when the run began. Raises BadInput."""
    count = len(dataset.train)
    settings = with_defaults(settings, count, world_size())
    if resume is not None and (size := saved_batch_size(resume)):
        if settings.batch_size not in (AUTO, size):
            raise BadInput(f"{resume} was trained in batches of {size}, not of {settings.batch_size}: go on with these")
        settings = dataclasses.replace(settings, batch_size=size)
    if settings.batch_size == AUTO:
        # Each process measures its own share; the first one's result holds for all.
        mine = fastest_batch_size(model, dataset.input_size, count // world_size(), device)
        settings = dataclasses.replace(settings, batch_size=of_first(mine) * world_size())
    assert isinstance(settings.batch_size, int)
    if min(count, settings.batch_size) < 2 * world_size():
        raise BadInput(
            f"{count} training images in batches of {settings.batch_size} are too few for {world_size()} workers"
        )
    return settings


def begun(
    settings: FitSettings, dataset: Dataset, device: torch.device, initial: Path | None
) -> tuple[ModelCard, ImageClassifier]:
    """The network to train, with fresh weights or those of a checkpoint.

    Raises BadInput for a checkpoint of another architecture, of other classes, or for images of another size.
    """
    card = ModelCard(architecture=settings.model, labels=dataset.labels, input_size=dataset.input_size)
    if initial is None:
        return card, new_model(settings, dataset, device)
    found, model = read_model(initial)
    if dataclasses.replace(found, pruned=False, sparse=False) != card:
        height, width = found.input_size
        raise BadInput(
            f"{initial} holds a {found.architecture} for {len(found.labels)} classes of {width}x{height} images; "
            f"asked for was a {card.architecture} for {len(card.labels)} of {card.input_size[1]}x{card.input_size[0]}"
        )
    return found, model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def new_model(settings: FitSettings, dataset: Dataset, device: torch.device) -> ImageClassifier:
    """The network with fresh weights, on the device, normalizing as the training images ask for."""
    images = dataset.train.images
    mean, std = channel_statistics(images)
    model = build_classifier(
        settings.model, len(dataset.labels), dataset.input_size, mean=mean, std=std, dropout=settings.dropout
    )
    sample = max(16, PREPARATION_PIXELS // (images.shape[1] * images.shape[2]))
    model.prepare(to_floats(torch.from_numpy(np.array(images[:: math.ceil(len(images) / sample)]))))
    return model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def new_state(
    settings: FitSettings, card: ModelCard, model: ImageClassifier, device: torch.device, *, steps: int
) -> TrainState:
    """settings: with a batch size. steps: optimizer steps of the whole run, which the learning rate follows."""
    assert isinstance(settings.batch_size, int)
    optimizer = build_optimizer(model, settings)
    return TrainState(
        card=card,
        model=model,
        optimizer=optimizer,
        schedule=Schedule(optimizer, settings, total=steps),
        scaler=torch.amp.GradScaler(device.type, enabled=settings.precision == "fp16"),
        batch_size=settings.batch_size,
        average=None if settings.ema is None else MovingAverage(model, settings.ema),
    )


def _prepared(model: ImageClassifier, settings: FitSettings) -> nn.Module:
    """The network as the loop runs it; its weights stay those of `model`."""
    network: nn.Module = model
    if settings.recompute:
        recompute_blocks(model.net)
    if world_size() > 1:
        network = DistributedDataParallel(network, forward_sync_buffers=False)
    if settings.compile:
        require_compiler(next(model.parameters()).device)
        network.compile(dynamic=False)
    return network


def require_compiler(device: torch.device) -> None:
    """Raises BadInput where torch.compile would fail much later, and over pages."""
    compilers = [os.environ.get("CXX", "g++"), "clang++"]
    if device.type == "cpu" and not any(map(shutil.which, compilers)):
        raise BadInput("--compile needs a C++ compiler, such as g++, on every node that trains")


def main(settings: LoopSettings) -> None:
    keep_freed_memory()
    dataset = prepare(
        settings.data,
        cache=Home.from_env().datasets,
        image_size=settings.image_size,
        max_bad=settings.max_bad_share,
    )
    out = Path(settings.out)
    last, best = out / "last.pt", out / "best.pt"

    def on_epoch(state: TrainState, due: bool) -> None:
        report = state.history[-1]
        print(
            f"epoch {report.epoch:>3}  loss {report.train_loss:.3f}  train {report.train_accuracy:.2%}  "
            f"val {report.val_accuracy:.2%}  {report.images_per_second:,.0f} images/s",
            flush=True,
        )
        if due:
            state.save(last)

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    state = fit(
        settings,
        dataset,
        device=device,
        resume=last if settings.resume else None,
        hooks=Hooks(
            on_epoch=on_epoch,
            on_checkpoint=lambda state: state.save(last),
            on_progress=lambda share: print(f"  {share:.0%} of the epoch", flush=True),
        ),
    )
    save_best(last, best)
    draw_curves(state.history, out / "curves.png", f"{settings.model} on {dataset.name}")
    print(f"best epoch {state.best.epoch}: validation accuracy {state.best.val_accuracy:.2%}, in {best}")


if __name__ == "__main__":
    run_job(LoopSettings, main)
