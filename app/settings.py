"""Typed settings of the jobs. The text under each field is its `--help`, here and in `manta`.

Light on purpose: the command line imports this without importing torch.
"""

from __future__ import annotations

import math
import re
import secrets
import time
from dataclasses import dataclass
from typing import ClassVar

from app.errors import BadInput

DEFAULT_ARCHITECTURE = "custom_cnn"


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """What the training loop needs to know, apart from the data."""

    model: str = DEFAULT_ARCHITECTURE
    """Architecture; `manta models` lists them."""
    epochs: int | None = None
    """Passes over the training images. Unless given, 20, and up to 60 for small data."""
    batch_size: int | None = None
    """Images per optimizer step, over all workers together. Unless given, 64, and less for small data."""
    lr: float = 4e-3
    """Peak learning rate of AdamW."""
    weight_decay: float = 0.01
    """Decoupled weight decay; not applied to biases and normalization."""
    label_smoothing: float = 0.05
    """Probability mass taken from the true class and spread over all of them."""
    warmup: float = 0.15
    """Share of the steps during which the learning rate rises; it then falls along a cosine."""
    dropout: float | None = None
    """Dropout before the last layer. Unless given, the architecture's own."""
    seed: int = 0
    """Seed of the split, the initial weights, the order of images and the augmentation."""
    precision: str = "auto"
    """auto, fp32, bf16 or fp16. auto is bf16 where the hardware has it (CUDA, a CPU with AMX), else fp32."""
    flip: bool | None = None
    """Mirror half of the images. Unless given: on, and off for digits (a mirrored digit is another one)."""
    shift: float = 0.125
    """Largest random shift, as a share of the image's height and width."""
    rotate: float = 5.0
    """Largest random rotation, in degrees."""
    colour: float = 0.1
    """Largest random change of brightness, contrast and saturation, as a share."""

    def __post_init__(self) -> None:
        _require(self.epochs is None or self.epochs >= 1, f"--epochs must be at least 1, not {self.epochs}")
        _require(
            self.batch_size is None or self.batch_size >= 2, f"--batch-size must be at least 2, not {self.batch_size}"
        )
        _require(0 < self.lr < math.inf, f"--lr must be a number above 0, not {self.lr}")
        _require(0 <= self.weight_decay < math.inf, f"--weight-decay must not be negative, it is {self.weight_decay}")
        _require(0 <= self.label_smoothing < 1, f"--label-smoothing must be in [0, 1), not {self.label_smoothing}")
        _require(0 <= self.warmup < 1, f"--warmup must be in [0, 1), not {self.warmup}")
        _require(self.dropout is None or 0 <= self.dropout < 1, f"--dropout must be in [0, 1), not {self.dropout}")
        _require(0 <= self.seed < 2**32, f"--seed must be from 0 to {2**32 - 1}, not {self.seed}")
        _require(self.precision in PRECISIONS, f"--precision must be one of {', '.join(PRECISIONS)}")
        _require(0 <= self.shift < 1, f"--shift must be in [0, 1), not {self.shift}")
        _require(0 <= self.rotate <= 180, f"--rotate must be in [0, 180], not {self.rotate}")
        _require(0 <= self.colour < 1, f"--colour must be in [0, 1), not {self.colour}")


PRECISIONS = ("auto", "fp32", "bf16", "fp16")


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Which labelled images, and how they are read."""

    BUILT_IN: ClassVar[tuple[str, ...]] = ("digits", "cifar10")

    data: str = "digits"
    """digits, cifar10, or the path of a folder or zip: train/<class>/* with val/ or test/, or only <class>/*."""
    image_size: int | None = None
    """Side in pixels that images are resized to. Unless given, it follows from the images."""
    max_bad: str = "1%"
    """Unreadable files, as in 1% or 0.01 of all, above which the job stops."""

    def __post_init__(self) -> None:
        _require(bool(self.data), "--data must not be empty")
        _require(self.image_size is None or 1 <= self.image_size <= 1024, "--image-size must be between 1 and 1024")
        _require(0 <= self.max_bad_share <= 1, f"--max-bad is between 0% and 100%, not {self.max_bad}")

    @property
    def max_bad_share(self) -> float:
        """Raises BadInput for a text that is no number or percentage."""
        number, percent, rest = self.max_bad.strip().partition("%")
        try:
            share = float(number) / (100 if percent else 1)
        except ValueError as error:
            raise BadInput(f"--max-bad is a share such as 1% or 0.01, not {self.max_bad!r}") from error
        _require(not rest, f"--max-bad is a share such as 1% or 0.01, not {self.max_bad!r}")
        return share


@dataclass(frozen=True, kw_only=True)
class LoopSettings(FitSettings, DataSettings):
    """The training loop by itself, in one process and without a cluster."""

    out: str = "trained"
    """Folder for best.pt, last.pt and curves.png."""
    resume: bool = False
    """Go on from last.pt in that folder."""

    def __post_init__(self) -> None:
        DataSettings.__post_init__(self)
        FitSettings.__post_init__(self)


@dataclass(frozen=True, kw_only=True)
class TrainSettings(FitSettings, DataSettings):
    """One training job: data, recipe and workers."""

    workers: int = 2
    """Data-parallel training workers."""
    threads: int | None = None
    """Torch threads of each worker. Unless given, the machine's cores divided by the workers."""
    gpu: bool | None = None
    """Give each worker a GPU. Unless given: when the cluster has enough of them."""
    max_failures: int = 3
    """How often a lost worker is replaced, from the last checkpoint, before the job gives up."""
    name: str | None = None
    """Name in the model registry. Unless given, the name of the data."""
    run: str | None = None
    """Name of this training run. Unless given, the data's name and the time."""
    resume: str | None = None
    """Go on with this interrupted run, with the settings it was started with; give no others."""
    git_commit: str = ""
    """Recorded in the model's lineage; the `manta` command fills it in."""

    def __post_init__(self) -> None:
        DataSettings.__post_init__(self)
        FitSettings.__post_init__(self)
        _require(self.workers >= 1, f"--workers must be at least 1, not {self.workers}")
        _require(self.threads is None or self.threads >= 1, "--threads must be at least 1")
        _require_model_name(self.name)
        _require(self.max_failures >= 0, "--max-failures must not be negative")
        _require(self.resume != "", "--resume must name a run")
        _require(
            self.batch_size is None or self.batch_size >= 2 * self.workers,
            f"--batch-size {self.batch_size} leaves fewer than 2 images for each of {self.workers} workers",
        )


@dataclass(frozen=True, kw_only=True)
class ConvertSettings:
    """One conversion job."""

    source: str
    """A version (name/3, name@champion) or the name of a training run."""
    data: str | None = None
    """Images to measure on. Unless given, the data the model was trained on."""
    name: str | None = None
    """Name in the model registry. Unless given, that of the source."""
    git_commit: str = ""
    """Recorded in the model's lineage; the `manta` command fills it in."""

    def __post_init__(self) -> None:
        _require_model_name(self.name)


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """One evaluation job."""

    version: str
    """A version: name/3, name@champion, or name for its champion."""
    data: str | None = None
    """Images to evaluate on. Unless given, the data the model was trained on."""
    split: str = "test"
    """train, val or test."""
    variant: str = "fp32"
    """Which graph of the bundle."""

    def __post_init__(self) -> None:
        _require(self.split in ("train", "val", "test"), f"--split must be train, val or test, not {self.split!r}")


@dataclass(frozen=True, kw_only=True)
class PipelineSettings(TrainSettings):
    """The whole way from images to a live endpoint."""

    port: int | None = None
    """Port of the HTTP service. Unless given, that of the service that runs, else 8000."""

    def __post_init__(self) -> None:
        TrainSettings.__post_init__(self)
        _require(self.port is None or 1 <= self.port <= 65535, f"--port must be between 1 and 65535, not {self.port}")


def default_run_name(dataset: str) -> str:
    """Named after the data and the time, so that a listing of runs is in order."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", dataset).strip("-.")[:60] or "data"
    return f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def default_model_name(dataset: str) -> str:
    """The data's name with everything left out that a reference (name/3, name@champion) could be mistaken for."""
    return re.sub(r"[^\w. -]+", "-", dataset).strip(" -.")[:100] or "data"


def _require_model_name(name: str | None) -> None:
    """Before hours of training: the registry takes no slash or colon, and `@` begins an alias."""
    _require(
        name is None or re.fullmatch(r"\w[\w. -]{0,99}", name) is not None,
        f"--name {name!r:.120} may hold letters, digits, dots, dashes, underscores and spaces, 100 at most, "
        "and begins with a letter or digit",
    )


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise BadInput(message)
