"""All that changes while training, and saving and restoring every part of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from app import checkpoint
from app.checkpoint import EpochReport, ModelCard, best_epoch
from app.ema import MovingAverage
from app.errors import BadInput, BrokenBundle
from app.models import ImageClassifier
from app.optimizer import Schedule

Weights = dict[str, torch.Tensor]


@dataclass(slots=True)
class EpochProgress:
    """The part of an epoch that is done; sums are over this process's images."""

    step: int = 0
    totals: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    """Loss, correct answers, images: over all processes, up to the last checkpoint."""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    data_seconds: float = 0.0


@dataclass(slots=True)
class TrainState:
    """`save` and `restore` carry every part, the best weights so far included."""

    card: ModelCard
    model: ImageClassifier
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    scaler: torch.amp.GradScaler
    batch_size: int
    """Images per step over all processes: what the schedule's steps, and those of `progress`, are counted in."""
    average: MovingAverage | None = None
    epoch: int = 0
    """Epochs completed."""
    progress: EpochProgress = field(default_factory=EpochProgress)
    """Of the epoch that has begun."""
    history: list[EpochReport] = field(default_factory=list)
    best_weights: Weights = field(default_factory=dict)
    """Of the best epoch so far, on the CPU."""

    @property
    def best(self) -> EpochReport:
        return best_epoch(self.history)

    @property
    def evaluated(self) -> ImageClassifier:
        """The network that is measured and exported: the average where one is kept."""
        if self.average is None:
            return self.model
        averaged = self.average.model
        assert isinstance(averaged, ImageClassifier)
        return averaged

    def add(self, report: EpochReport) -> None:
        """Ends an epoch, and keeps its weights when it is the best so far."""
        self.epoch = report.epoch
        self.progress = EpochProgress()
        self.history.append(report)
        if self.best == report:
            weights = self.evaluated.state_dict()
            self.best_weights = {name: value.detach().to("cpu", copy=True) for name, value in weights.items()}

    def save(self, path: Path) -> None:
        checkpoint.save(
            {
                "card": asdict(self.card),
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "scaler": self.scaler.state_dict(),
                "batch_size": self.batch_size,
                "average": None if self.average is None else self.average.model.state_dict(),
                "average_updates": 0 if self.average is None else self.average.updates,
                "epoch": self.epoch,
                "progress": asdict(self.progress),
                "history": [asdict(report) for report in self.history],
                "best_weights": self.best_weights,
            },
            path,
        )

    def restore(self, path: Path) -> None:
        """Raises NotFound, BrokenBundle, or BadInput for a checkpoint of another model."""
        content = checkpoint.load(path)
        try:
            if ModelCard(**content["card"]) != self.card:
                raise BadInput(f"checkpoint {path} belongs to another model or other classes")
            self._restore(content)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise BrokenBundle(f"checkpoint {path} does not hold the state of a training run: {error!r}") from error

    def _restore(self, content: dict[str, Any]) -> None:
        self.model.load_state_dict(content["model"])
        chosen = [{**group} for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(content["optimizer"])
        for group, values in zip(self.optimizer.param_groups, chosen, strict=True):
            # A trial of a sweep may go on with other settings than the state was saved with.
            group.update({name: value for name, value in values.items() if name != "params"})
        self.schedule.load_state_dict(content["schedule"])
        self.scaler.load_state_dict(content["scaler"])
        if self.average is not None:
            self.average.model.load_state_dict(content["average"])
            self.average.updates = content["average_updates"]
        self.epoch = content["epoch"]
        self.progress = EpochProgress(**content["progress"])
        self.history = [EpochReport(**report) for report in content["history"]]
        self.best_weights = content["best_weights"]


def saved_batch_size(path: Path) -> int | None:
    """Of a saved state; None in one of before it was kept. Raises NotFound or BrokenBundle."""
    size = checkpoint.load(path).get("batch_size")
    return size if isinstance(size, int) else None


def save_best(state_file: Path, path: Path) -> None:
    """Writes the best weights in a saved state as a model checkpoint of their own. Raises BrokenBundle."""
    content = checkpoint.load(state_file)
    if not content.get("best_weights"):
        raise BrokenBundle(f"checkpoint {state_file} holds no finished epoch")
    checkpoint.save({"card": content["card"], "model": content["best_weights"]}, path)
