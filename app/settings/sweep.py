"""Settings of a sweep."""

from __future__ import annotations

import math
from dataclasses import dataclass

from app.settings.checks import require
from app.settings.training import TrainSettings

SEARCHES = ("tpe", "random", "pbt")


@dataclass(frozen=True, kw_only=True)
class SweepSettings(TrainSettings):
    """Many trainings of different settings, of which the promising ones go on. Other options hold for every trial."""

    workers: str = "1"
    """Data-parallel training workers of each trial."""
    trials: int = 16
    """Settings that are tried."""
    concurrent: int | None = None
    """Trials at a time. Unless given, as many as the cluster has room for."""
    search: str = "tpe"
    """How settings are chosen: tpe (Optuna), random, or pbt (population based training)."""
    space: tuple[str, ...] = ()
    """What is varied, once for each setting: lr=log:0.001:0.1, mixup=uniform:0:0.4, model=custom_cnn,mobile, or the
    path of a YAML file with such lines. Unless given: learning rate, weight decay, batch size, label smoothing
    and augmentation."""
    grace: int | None = None
    """Epochs before a trial can be stopped for being worse than others. Unless given, a quarter of the epochs."""
    reduction: int = 3
    """Of so many trials one goes on at each of ASHA's rungs."""
    sweep: str | None = None
    """Name of this sweep. Unless given, the data's name and the time."""

    def __post_init__(self) -> None:
        TrainSettings.__post_init__(self)
        require(self.trials >= 1, f"--trials must be at least 1, not {self.trials}")
        require(self.concurrent is None or self.concurrent >= 1, "--concurrent must be at least 1")
        require(self.search in SEARCHES, f"--search must be one of {', '.join(SEARCHES)}, not {self.search!r}")
        require(self.grace is None or self.grace >= 1, f"--grace must be at least 1, not {self.grace}")
        require(2 <= self.reduction < math.inf, f"--reduction must be at least 2, not {self.reduction}")
