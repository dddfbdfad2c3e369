"""The teacher of a distillation: its answers, computed once where augmentation allows, or the network itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.artifact import CHECKPOINT_FILE, open_bundle
from app.atomic_folder import building
from app.config import Home
from app.datasets import Dataset
from app.errors import BadInput
from app.registry import ModelVersion
from app.settings import DistillSettings
from train_jobs.job import say, torch_device

if TYPE_CHECKING:
    import torch

    from app.objective import Objective
    from app.settings import FitSettings

LOGITS_FILE = "logits.npy"


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherTask:
    """Travels to the workers as plain values; the files lie on storage that every node sees."""

    checkpoint: Path
    logits: Path | None
    """float32 [2, N, C] of the training images as they are and mirrored, where they suffice."""
    temperature: float
    alpha: float

    def objective(self, fit: FitSettings, device: torch.device) -> Objective:
        """What the workers minimize."""
        import numpy as np

        from app.checkpoint import read_model
        from app.distill import AskedTeacher, CachedTeacher, Distillation, Teacher

        teacher: Teacher
        if self.logits is not None:
            teacher = CachedTeacher(np.load(self.logits))
        else:
            teacher = AskedTeacher(read_model(self.checkpoint)[1], device)
        return Distillation(fit, teacher, temperature=self.temperature, alpha=self.alpha)


def prepare_teacher(settings: DistillSettings, version: ModelVersion, dataset: Dataset, home: Home) -> TeacherTask:
    """Raises BadInput when the teacher knows other classes or takes images of another size."""
    from app.distill import can_cache

    bundle = open_bundle(version.folder)
    if bundle.manifest.labels != dataset.labels:
        raise BadInput(f"the classes of {dataset.name} are not those of {version.reference}")
    if (bundle.manifest.input.height, bundle.manifest.input.width) != dataset.input_size:
        height, width = dataset.input_size
        raise BadInput(f"{version.reference} does not take images of {width}x{height}; pass its --image-size")
    checkpoint = bundle.folder / CHECKPOINT_FILE
    return TeacherTask(
        checkpoint=checkpoint,
        logits=cached_logits(bundle.manifest.files[CHECKPOINT_FILE], checkpoint, dataset, home)
        if can_cache(settings)
        else None,
        temperature=settings.temperature,
        alpha=settings.alpha,
    )


def cached_logits(checkpoint_sha256: str, checkpoint: Path, dataset: Dataset, home: Home) -> Path:
    """The teacher's answers to the training images; computed once for each teacher and dataset."""
    import numpy as np

    from app.batches import DeviceSplit
    from app.checkpoint import read_model
    from app.distill import teacher_logits

    folder = home.teachers / f"{checkpoint_sha256[:16]}-{dataset.digest[:16]}"
    if not folder.is_dir():
        say(f"asking the teacher about {len(dataset.train):,} training images")
        device = torch_device()
        model = read_model(checkpoint)[1].to(device)
        with building(folder) as partial:
            np.save(partial / LOGITS_FILE, teacher_logits(model, DeviceSplit(dataset.train, device)))
    return folder / LOGITS_FILE
