"""Settings of the jobs that train: by themselves, from a teacher, or on the whole way to an endpoint."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from app.errors import BadInput
from app.settings.checks import require, require_model_name
from app.settings.data import DataSettings
from app.settings.fit import DEFAULT_ARCHITECTURE, FitSettings
from app.settings.parts import HIDDEN


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
class RunSettings(FitSettings, DataSettings):
    """Training on a cluster: data, recipe, workers, checkpoints."""

    recipe: str | None = None
    """quick, standard, best, or a YAML file of settings that a sweep wrote. Options given besides it win."""
    workers: str = field(default="2", metadata={"metavar": "<int>|<least>:<most>"})
    """Data-parallel training workers; 1:4 takes what there is room for, and goes on with fewer when a node is lost."""
    threads: int | None = None
    """Torch threads of each worker. Unless given, the machine's cores divided by the workers."""
    gpu: bool | None = None
    """Give each worker a GPU. Unless given: when the cluster has enough of them."""
    max_failures: int = 3
    """How often a lost worker is replaced, from the last checkpoint, before the job gives up."""
    keep_checkpoints: int = 2
    """How many of the latest checkpoints stay in storage; the best weights are in every one of them."""
    storage: str | None = None
    """Folder or URI (s3://..., gs://...) for checkpoints, on storage that every node sees. Unless given, the run's
    own folder in MANTA_HOME."""
    run: str | None = None
    """Name of this training run. Unless given, the data's name and the time."""
    resume: str | None = None
    """Go on with this interrupted run, with the settings it was started with; give no others."""
    git_commit: str = field(default="", metadata=HIDDEN)
    """Recorded in the model's lineage; the `manta` command fills it in."""
    command: str = field(default="", metadata=HIDDEN)
    """The command line that asked for this, recorded with the run; the `manta` command fills it in."""

    def __post_init__(self) -> None:
        DataSettings.__post_init__(self)
        FitSettings.__post_init__(self)
        least, most = self.worker_range
        require(1 <= least <= most, f"--workers must be at least 1, as in 2 or 1:4, not {self.workers}")
        require(self.threads is None or self.threads >= 1, "--threads must be at least 1")
        require(self.max_failures >= 0, "--max-failures must not be negative")
        require(self.keep_checkpoints >= 1, f"--keep-checkpoints must be at least 1, not {self.keep_checkpoints}")
        require(self.storage != "", "--storage must not be empty")
        require(self.resume != "", "--resume must name a run")
        require(
            not isinstance(self.batch_size, int) or self.batch_size >= 2 * most,
            f"--batch-size {self.batch_size} leaves fewer than 2 images for each of {most} workers",
        )

    @property
    def worker_range(self) -> tuple[int, int]:
        """(fewest, most) workers. Raises BadInput."""
        found = re.fullmatch(r"(-?\d{1,6})(?::(\d{1,6}))?", self.workers)
        if found is None:
            raise BadInput(f"--workers is a number or a range such as 1:4, not {self.workers!r}")
        least = int(found[1])
        return least, int(found[2] or least)


@dataclass(frozen=True, kw_only=True)
class TrainSettings(RunSettings):
    """One training job, which ends with a registered version."""

    tta: bool = False
    """Measure the test accuracy with test-time augmentation too (mirrored and shifted views); reported apart."""
    init: str | None = None
    """Begin with the weights of this version (name/3, name@champion) or checkpoint file, not with fresh ones."""
    name: str | None = None
    """Name in the model registry. Unless given, the name of the data."""

    def __post_init__(self) -> None:
        RunSettings.__post_init__(self)
        require_model_name(self.name)


@dataclass(frozen=True, kw_only=True)
class DistillSettings(TrainSettings):
    """Training a student on a teacher's answers."""

    teacher: str
    """The version to learn from: name/3, name@champion, or name for its champion."""
    data: str = ""
    """digits, cifar10, or the path of a folder or zip, as in `manta train`. Unless given, what the teacher was trained
    on."""
    temperature: float = 4.0
    """Softens the answers of teacher and student before they are compared."""
    alpha: float = 0.9
    """Weight of the teacher's answers in the loss; the true labels have the rest."""

    def __post_init__(self) -> None:
        TrainSettings.__post_init__(self)
        require(0 < self.temperature < math.inf, f"--temperature must be a number above 0, not {self.temperature}")
        require(0 <= self.alpha <= 1, f"--alpha must be in [0, 1], not {self.alpha}")


@dataclass(frozen=True, kw_only=True)
class RetrainSettings:
    """Training a version anew, as it was trained, and putting the new one on trial beside it."""

    version: str
    """The version to train anew: name/3, name@champion, or name for its champion."""
    data: str | None = None
    """Images to train on, as in `manta train`. Unless given, where the version's own came from, as it is now."""
    if_drifted: bool = False
    """Only if the live champion's traffic has drifted (`manta drift`), if there are new images, and if nothing is on
    trial yet; otherwise nothing is done."""
    warm_start: bool = False
    """Begin with the version's weights, not with fresh ones."""
    epochs: int | None = None
    """Passes over the training images. Unless given, as many as before."""
    workers: str | None = field(default=None, metadata={"metavar": "<int>|<least>:<most>"})
    """Data-parallel training workers. Unless given, as before."""
    max_loss: float = 0.5
    """Points of test accuracy that it may lose against the version it replaces, beyond what chance explains."""
    weight: float = 10.0
    """Percent of the users that the new version answers, where the version it replaces is live."""
    automatic: bool = False
    """Once feedback has decided, the new version becomes the champion or is taken down, and nobody is asked."""
    why: str = ""
    """For the log of decisions."""
    git_commit: str = field(default="", metadata=HIDDEN)
    """Recorded in the model's lineage; the `manta` command fills it in."""
    command: str = field(default="", metadata=HIDDEN)
    """The command line that asked for this, recorded with the run; the `manta` command fills it in."""

    def __post_init__(self) -> None:
        require(self.data != "", "--data must not be empty")
        require(self.epochs is None or self.epochs >= 1, f"--epochs must be at least 1, not {self.epochs}")
        require(0 <= self.max_loss < 100, f"--max-loss must be at least 0 and below 100 points, not {self.max_loss}")
        require(0 <= self.weight < 100, f"--weight must be at least 0 and below 100 percent, not {self.weight}")


@dataclass(frozen=True, kw_only=True)
class PruneSettings(TrainSettings):
    """Pruning a version, with fine-tuning on its own answers."""

    version: str
    """The version to prune, which is also the teacher: name/3, name@champion."""
    data: str = ""
    """digits, cifar10, or the path of a folder or zip, as in `manta train`. Unless given, what the version was trained
    on."""
    model: str = field(default=DEFAULT_ARCHITECTURE, metadata=HIDDEN)
    """That of the version, whatever is given."""
    init: str | None = field(default=None, metadata=HIDDEN)
    """The weights are those of the version."""
    resume: str | None = field(default=None, metadata=HIDDEN)
    """A step goes on as the run it is: `manta train --resume RUN`."""
    run: str | None = None
    """Name of the training runs, RUN-1 for the first step. Unless given, the version's name and the time."""
    name: str | None = None
    """Name in the model registry. Unless given, that of the version."""
    remove: float = 0.5
    """Share of the channels of every layer that goes, in all steps together; of all weights with --weights."""
    steps: int = 2
    """Prune and fine-tune this often, a part each time; every step leaves a version."""
    weights: bool = False
    """Set single weights to zero and keep all channels: smaller when compressed, and no faster."""
    temperature: float = 4.0
    """Softens the answers of both networks before they are compared."""
    alpha: float = 0.9
    """Weight of the whole network's answers in the loss; the true labels have the rest."""

    def __post_init__(self) -> None:
        TrainSettings.__post_init__(self)
        require(0 < self.remove < 1, f"--remove must be above 0 and below 1, not {self.remove}")
        require(self.steps >= 1, f"--steps must be at least 1, not {self.steps}")
        require(self.resume is None, "--resume goes on with a run: manta train --resume RUN")
        require(self.init is None, "--init has no place here: the weights are those of the version")


@dataclass(frozen=True, kw_only=True)
class PipelineSettings(TrainSettings):
    """The whole way from images to a live endpoint."""

    port: int | None = None
    """Port of the HTTP service. Unless given, that of the service that runs, else 8000."""

    def __post_init__(self) -> None:
        TrainSettings.__post_init__(self)
        require(self.port is None or 1 <= self.port <= 65535, f"--port must be between 1 and 65535, not {self.port}")
