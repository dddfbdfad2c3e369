"""What a network answers on a split: loss, accuracy, probabilities; with test-time augmentation apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from app.batches import DeviceSplit
from app.evaluate import images_at_once
from app.models import to_floats
from app.parallel import means, rank, world_size

MAX_BATCH = 512
MAX_PIXELS = MAX_BATCH * 64 * 64
"""Of one batch: larger images are evaluated in smaller batches, so that their activations fit."""
TTA_SHIFT = 2
"""Pixels that test-time augmentation shifts views by."""


@torch.no_grad()
def evaluate(model: nn.Module, split: DeviceSplit, *, precision: AbstractContextManager[Any]) -> tuple[float, float]:
    """Mean cross-entropy and accuracy over the split; every image counts once, whatever the number of processes."""
    model.eval()
    totals = torch.zeros(3, dtype=torch.float64, device=split.device)
    for images, labels in _batches(split, np.arange(rank(), len(split), world_size())):
        with precision:
            logits = model(images).float()
        loss = functional.cross_entropy(logits, labels, reduction="sum")
        totals += torch.stack([loss.double(), (logits.argmax(1) == labels).sum(), labels.new_tensor(len(labels))])
    return means(totals)


@torch.no_grad()
def predict(model: nn.Module, split: DeviceSplit, *, tta: bool = False, mirror: bool = True) -> np.ndarray:
    """Probabilities float32 [N, C] of every image, in this process alone.

    tta: the mean over views that are shifted by two pixels and, with `mirror`, mirrored (as in Jordan 2024).
    """
    model.eval()
    answers = []
    for images, _ in _batches(split, np.arange(len(split))):
        if tta:
            every = [model(view).softmax(1) for view in views(images, mirror=mirror)]
            answers.append(torch.stack(every).mean(0))
        else:
            answers.append(model(images).softmax(1))
    return torch.cat(answers).float().cpu().numpy()


def views(images: torch.Tensor, *, mirror: bool) -> Iterator[torch.Tensor]:
    """The images themselves and shifted to two corners, [N, 3, H, W], each also mirrored."""
    padded = functional.pad(images, (TTA_SHIFT,) * 4, mode="reflect")
    height, width = images.shape[2:]
    far = 2 * TTA_SHIFT
    for view in (images, padded[:, :, :height, :width], padded[:, :, far : far + height, far : far + width]):
        yield view
        if mirror:
            yield view.flip(3)


def eval_batch(split: DeviceSplit) -> int:
    """Images at a time."""
    return images_at_once(split.image_size, largest=MAX_BATCH, pixels=MAX_PIXELS)


def _batches(split: DeviceSplit, index: np.ndarray) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    size = eval_batch(split)
    for start in range(0, len(index), size):
        images, labels = split.take(index[start : start + size])
        yield to_floats(images).contiguous(memory_format=torch.channels_last), labels
