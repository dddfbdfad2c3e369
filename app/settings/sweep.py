"""Settings of a sweep."""

from __future__ import annotations

from dataclasses import dataclass

from app.settings.checks import require
from app.settings.training import RunSettings

SEARCHES = ("tpe", "random", "pbt")


@dataclass(frozen=True, kw_only=True)
class SweepSettings(RunSettings):
    """Many trainings with different settings, of which the promising ones go on. Other options hold for every one."""

    workers: str = "1"
    """Data-parallel training workers of each trial."""
    threads: int | None = None
    """Torch threads of each worker. Unless given, the machine's cores divided by all workers that train at once."""
    run: str | None = None
    """Name of this sweep. Unless given, the data's name and the time."""
    resume: str | None = None
    """Go on with this interrupted sweep, with the settings it was started with; give no others."""
    trials: int = 16
    """Settings that are tried."""
    concurrent: int | None = None
    """Trials at a time. Unless given, as many as there are cores, logical CPUs and GPUs for; with tpe at most ten, or a
    quarter of all, because what runs at once learns nothing from each other."""
    search: str = "tpe"
    """How settings are chosen: tpe (Optuna's tree-structured Parzen estimator), random, or pbt (population based
    training: trials that lag behind go on from the weights of better ones, with changed settings)."""
    space: tuple[str, ...] = ()
    """What is varied, once for each setting: lr=log:0.001:0.1, mixup=uniform:0:0.4, epochs=int:5:20,
    model=custom_cnn,mobile, or the path of a YAML file of such lines. Unless given: learning rate, weight decay,
    label smoothing, dropout and shift."""
    grace: int | None = None
    """Epochs before a trial can be stopped for being worse than others. Unless given, a quarter of the epochs."""
    reduction: int = 3
    """One of so many trials goes on at each of ASHA's rungs."""

    def __post_init__(self) -> None:
        RunSettings.__post_init__(self)
        require(self.trials >= 1, f"--trials must be at least 1, not {self.trials}")
        require(self.concurrent is None or self.concurrent >= 1, "--concurrent must be at least 1")
        require(self.search in SEARCHES, f"--search must be one of {', '.join(SEARCHES)}, not {self.search!r}")
        require(self.grace is None or self.grace >= 1, f"--grace must be at least 1, not {self.grace}")
        require(self.reduction >= 2, f"--reduction must be at least 2, not {self.reduction}")
