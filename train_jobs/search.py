"""How a sweep chooses settings and when it stops trials, in Ray Tune's terms."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import optuna
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, PopulationBasedTraining, TrialScheduler
from ray.tune.search import BasicVariantGenerator, SearchAlgorithm, Searcher
from ray.tune.search.optuna import OptunaSearch
from ray.tune.search.sample import Domain as TuneDomain

from app.checkpoint import EpochReport
from app.errors import BadInput
from app.models import own_dropout
from app.search_space import Choice, Domain, Range, Space, contains, ends
from app.settings import SweepSettings
from train_jobs.sweeps import Sweep

SCORE, EPOCH = "score", "epoch"
"""What trials report: `EpochReport.score`, and epochs done."""
CHANGEABLE = frozenset(
    ("lr", "momentum", "weight_decay", "label_smoothing", "dropout", "clip", "shift", "rotate", "colour", "cutout")
)
"""Settings that mean the same in every epoch, and that no part of the saved state depends on."""


def tune_space(space: Space) -> dict[str, TuneDomain]:
    return {name: _tune_domain(domain) for name, domain in space.items()}


def searcher(settings: SweepSettings, space: Space) -> Searcher | SearchAlgorithm:
    """Starts with the settings as they are, where the space has them: a sweep should not end below them."""
    if settings.search == "pbt":
        return BasicVariantGenerator(random_state=settings.seed)
    as_they_are = {**asdict(settings), "lr": settings.peak_lr}
    if settings.dropout is None:
        as_they_are["dropout"] = own_dropout(settings.model)
    first = {name: as_they_are[name] for name in space}
    known = [first] if all(contains(domain, first[name]) for name, domain in space.items()) else []
    if settings.search == "tpe":
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        return OptunaSearch(metric=SCORE, mode="max", points_to_evaluate=known or None, seed=settings.seed)
    return BasicVariantGenerator(points_to_evaluate=known or None, random_state=settings.seed)


class ResumableAsha(AsyncHyperBandScheduler):
    """Knows again, in a sweep that goes on, what trials had reported: Ray Tune keeps the state of no scheduler.

    A trial that passed a rung before would otherwise enter its later score there, and new ones be measured by that.
    """

    def __init__(self, history: Callable[[str], list[EpochReport]], **options: Any) -> None:
        """history: the epochs that a trial, by its id, has reported so far."""
        super().__init__(**options)
        self._history = history

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        super().on_trial_add(tune_controller, trial)
        for report in self._history(trial.trial_id):
            self._trial_info[trial.trial_id].on_result(trial, report.epoch, report.score)


def scheduler(sweep: Sweep, space: Space) -> TrialScheduler:
    """ASHA (Li et al. 2020, arXiv:1810.05934): at each rung only the best of what reached it go on.

    Or population based training (Jaderberg et al. 2017, arXiv:1711.09846): the last quarter of trials take over
    weights and settings of the first quarter, and vary those settings.
    """
    settings = sweep.settings
    epochs = longest(settings, space)
    grace = min(epochs, settings.grace or max(1, epochs // 4))
    if settings.search == "pbt":
        return PopulationBasedTraining(
            time_attr=EPOCH,
            metric=SCORE,
            mode="max",
            perturbation_interval=grace,
            hyperparam_mutations=dict(tune_space(space)),
            custom_explore_fn=lambda config: within(space, config),
        )
    return ResumableAsha(
        functools.partial(reported, sweep),
        time_attr=EPOCH,
        metric=SCORE,
        mode="max",
        max_t=epochs + 1,  # a trial ends by itself: stopped at its last epoch it would not hand over its weights
        grace_period=grace,
        reduction_factor=settings.reduction,
    )


def reported(sweep: Sweep, trial_id: str) -> list[EpochReport]:
    return sweep.trial(trial_id, {}).history()


def require_changeable(space: Space) -> None:
    """Raises BadInput for settings that a network in mid-training cannot change, for population based training."""
    fixed = space.keys() - CHANGEABLE
    if fixed:
        raise BadInput(
            f"--search pbt changes settings in mid-training, which {', '.join(sorted(fixed))} cannot; "
            f"it varies: {', '.join(sorted(CHANGEABLE))}"
        )


def within(space: Space, config: dict[str, Any]) -> dict[str, Any]:
    """The settings, with what was varied beyond its range put back to the nearest end."""
    return {name: _nearest(space[name], value) for name, value in config.items()}


def _nearest(domain: Domain, value: Any) -> Any:
    return value if isinstance(domain, Choice) else type(value)(min(max(value, domain.low), domain.high))


def longest(settings: SweepSettings, space: Space) -> int:
    """Epochs of the longest trial."""
    if "epochs" in space:
        return max(map(int, ends(space["epochs"])))
    assert settings.epochs is not None
    return settings.epochs


def _tune_domain(domain: Domain) -> TuneDomain:
    if isinstance(domain, Choice):
        return tune.choice(list(domain.values))
    return _tune_range(domain)


def _tune_range(domain: Range) -> TuneDomain:
    if domain.whole:
        # Tune leaves the upper bound of whole numbers out.
        low, high = int(domain.low), int(domain.high) + 1
        return tune.lograndint(low, high) if domain.log else tune.randint(low, high)
    return tune.loguniform(domain.low, domain.high) if domain.log else tune.uniform(domain.low, domain.high)
