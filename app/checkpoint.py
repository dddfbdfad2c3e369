"""Checkpoints of a training run: everything needed to go on as if nothing had happened."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from app.errors import BrokenBundle, NotFound
from app.models import ImageClassifier, build_classifier
from app.models.resizing import resize_to

STATE_FILE = "state.pt"


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochReport:
    """What one epoch did. Losses are means per image, accuracies shares from 0 to 1."""

    epoch: int
    """Counted from 1."""
    lr: float
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float
    """Training alone, without validation and checkpoint."""
    images_per_second: float
    cpu_seconds: float = 0.0
    """CPU time of the first process in those seconds, all its threads together: beside other work it stays as it is."""
    compute_share: float = 1.0
    """Of those seconds that was not spent on fetching and augmenting images."""
    ended: float = 0.0
    """Unix time, in seconds, at the end of validation."""
    workers: int = 1
    """Processes that trained it: an elastic run may have lost some."""

    @property
    def score(self) -> float:
        """Validation accuracy; on a small split many epochs are equal, and then the lower loss is the better."""
        return self.val_accuracy - 1e-6 * self.val_loss


def best_epoch(history: Sequence[EpochReport]) -> EpochReport:
    """The one whose weights are exported."""
    return max(history, key=lambda report: report.score)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What a network needs to be built again, without its weights."""

    architecture: str
    labels: tuple[str, ...]
    input_size: tuple[int, int]
    """(height, width) in pixels."""
    pruned: bool = False
    """Its layers are narrower than the architecture's; the weights say how narrow."""
    sparse: bool = False
    """What is zero of its weights stays zero."""


def save(content: dict[str, Any], path: Path) -> None:
    """Writes beside `path` and renames, so that a file under the final name is always complete.

    When that fails, as on a full disk, the file that was there before stays and nothing else is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def load(path: Path) -> dict[str, Any]:
    """Reads a file of `save`, on the CPU, executing nothing in it. Raises NotFound or BrokenBundle."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise NotFound(f"no checkpoint at {path}") from error
    except Exception as error:  # a cut file surfaces as one of many types
        reason = str(error).partition("\n")[0] or type(error).__name__  # torch goes on for a page
        raise BrokenBundle(f"checkpoint {path} cannot be read: {reason}") from error
    if not isinstance(content, dict):
        raise BrokenBundle(f"checkpoint {path} does not hold a Manta model")
    return content


def weights_only(card: ModelCard, model: ImageClassifier) -> dict[str, Any]:
    return {"card": asdict(card), "model": model.state_dict()}


def read_model(path: Path) -> tuple[ModelCard, ImageClassifier]:
    """The network of a checkpoint (a run's or a bundle's), in evaluation mode on the CPU."""
    content = load(path)
    try:
        card = ModelCard(**content["card"])
        model = build_classifier(card.architecture, len(card.labels), card.input_size)
        if card.pruned:
            resize_to(model, content["model"])
        model.load_state_dict(content["model"])
    except (KeyError, TypeError, RuntimeError) as error:
        raise BrokenBundle(f"checkpoint {path} does not hold a Manta model: {error}") from error
    return card, model.eval()
