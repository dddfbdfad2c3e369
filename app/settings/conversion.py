"""Settings of the jobs that work on a finished model."""

from __future__ import annotations

from dataclasses import dataclass, field

from app.conversion.variants import parse_variants
from app.settings.checks import require, require_model_name
from app.settings.parts import HIDDEN


@dataclass(frozen=True, kw_only=True)
class ConvertSettings:
    """One conversion job."""

    source: str
    """A version (name/3, name@champion) or the name of a training run."""
    data: str | None = None
    """Images to measure on. Unless given, the data the model was trained on."""
    variants: str = "fp32,int8"
    """Of fp32, int8, int8-dynamic, fp16, tflite, tflite-fp16, tflite-int8 and tflite-int8-dynamic, with commas."""
    max_accuracy_loss: float = 0.003
    """Share of the test images that a variant may lose against fp32 (0.003 is 0.3 points)."""
    name: str | None = None
    """Name in the model registry. Unless given, that of the source."""
    git_commit: str = field(default="", metadata=HIDDEN)
    """Recorded in the model's lineage; the `manta` command fills it in."""
    command: str = field(default="", metadata=HIDDEN)
    """The command line that asked for this, recorded too; the `manta` command fills it in."""

    def __post_init__(self) -> None:
        require_model_name(self.name)
        loss = self.max_accuracy_loss
        require(0 <= loss < 1, f"--max-accuracy-loss must be at least 0 and below 1, not {loss}")
        parse_variants(self.variants)


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
        require(self.split in ("train", "val", "test"), f"--split must be train, val or test, not {self.split!r}")


@dataclass(frozen=True, kw_only=True)
class BatchPredictSettings:
    """One classification of many images."""

    version: str
    """A version: name/3, name@champion, or name for its champion."""
    images: str
    """A folder or zip, with images in it or in its folders."""
    out: str | None = None
    """File for the answers: .csv, .jsonl or .parquet. Unless given, a CSV below MANTA_HOME/predictions."""
    variant: str = "fp32"
    """Which graph of the bundle."""
    top_k: int = 1
    """Answers for each image."""
    workers: int | None = None
    """Processes that decode and predict, on one thread each. Unless given, one for each core."""

    def __post_init__(self) -> None:
        require(self.top_k >= 1, f"--top-k must be at least 1, not {self.top_k}")
        require(self.workers is None or self.workers >= 1, f"--workers must be at least 1, not {self.workers}")


@dataclass(frozen=True, kw_only=True)
class VerifySettings:
    """One verification job."""

    version: str
    """A version: name/3, name@champion, or name for its champion."""
    data: str | None = None
    """Images to measure on. Unless given, the data the model was trained on."""


@dataclass(frozen=True, kw_only=True)
class CompareSettings:
    """One comparison job."""

    versions: tuple[str, ...]
    """Versions of the same classes and input size: name/3, name@champion."""
    data: str | None = None
    """Images to measure on. Unless given, the data the first model was trained on."""


@dataclass(frozen=True, kw_only=True)
class CascadeSettings:
    """One search for the threshold of a cascade."""

    fast: str
    """The version that is asked first: name/3, name@champion."""
    accurate: str
    """The version that is asked when the first one is not sure."""
    max_loss: float = 0.2
    """Points of validation accuracy that may be lost against the accurate version alone."""
    fast_variant: str = "fp32"
    """Which graph of the fast version."""
    accurate_variant: str = "fp32"
    """Which graph of the accurate version."""
    data: str | None = None
    """Images to choose on. Unless given, the data that the accurate version was trained on."""

    def __post_init__(self) -> None:
        require(0 <= self.max_loss < 100, f"--max-loss must be at least 0 and below 100 points, not {self.max_loss}")
