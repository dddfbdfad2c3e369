"""Knowledge distillation: a student learns from a teacher's answers (Hinton et al. 2015, arXiv:1503.02531)."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from app.batches import DeviceSplit
from app.models import ImageClassifier, to_floats
from app.objective import Batch, CrossEntropy
from app.settings import FitSettings
from app.validation import eval_batch


class Teacher(Protocol):
    """Gives the teacher's logits, float [n, C], for what the student sees."""

    def __call__(self, batch: Batch) -> torch.Tensor: ...


class Distillation:
    """alpha * T^2 * KL(teacher || student), both softened by temperature T, + (1 - alpha) * cross-entropy.

    T^2 keeps the gradients of the soft part as large as those of the hard one whatever T is (section 2).
    """

    def __init__(self, settings: FitSettings, teacher: Teacher, *, temperature: float, alpha: float) -> None:
        self._hard, self._teacher = CrossEntropy(settings), teacher
        self._temperature, self._alpha = temperature, alpha

    def __call__(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        taught = functional.log_softmax(self._teacher(batch).to(logits.dtype) / self._temperature, 1)
        answered = functional.log_softmax(logits / self._temperature, 1)
        soft = functional.kl_div(answered, taught, reduction="batchmean", log_target=True)
        return self._alpha * self._temperature**2 * soft + (1 - self._alpha) * self._hard(logits, batch)


class AskedTeacher:
    """Runs the teacher on every batch: its answer to an image differs with what augmentation made of it."""

    def __init__(self, model: ImageClassifier, device: torch.device) -> None:
        self._model = model.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.no_grad()
    def __call__(self, batch: Batch) -> torch.Tensor:
        return self._model(batch.inputs)


class CachedTeacher:
    """Looks up answers that were computed once for every image as it is and mirrored."""

    def __init__(self, logits: np.ndarray) -> None:
        """logits: float32 [2, N, C], of the images as they are and mirrored."""
        self._logits = torch.from_numpy(logits)

    def __call__(self, batch: Batch) -> torch.Tensor:
        answers = self._logits[batch.mirrored.long(), torch.from_numpy(batch.rows)]
        return answers.to(batch.inputs.device, non_blocking=True)


def can_cache(settings: FitSettings) -> bool:
    """Whether an image is shown in two ways at most: as it is, and mirrored."""
    changes = (settings.shift, settings.rotate, settings.colour, settings.cutout, settings.mixup, settings.cutmix)
    return not any(changes)


@torch.no_grad()
def teacher_logits(model: nn.Module, split: DeviceSplit) -> np.ndarray:
    """float32 [2, N, C]: the answers to every image as it is and mirrored."""
    model.eval()
    size = eval_batch(split)
    plain, mirrored = [], []
    for start in range(0, len(split), size):
        images, _ = split.take(np.arange(start, min(start + size, len(split))))
        floats = to_floats(images).contiguous(memory_format=torch.channels_last)
        plain.append(model(floats).float().cpu())
        mirrored.append(model(floats.flip(3)).float().cpu())
    return torch.stack([torch.cat(plain), torch.cat(mirrored)]).numpy()
