"""How a sweep chooses settings and when it stops trials."""

from __future__ import annotations

import json
import pickle
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, PopulationBasedTraining, TrialScheduler
from ray.tune.search.optuna import OptunaSearch
from torch.nn import Dropout

from app.errors import BadInput
from app.models import build_net
from app.search_space import parse_space
from app.settings import SweepSettings
from tests.app.epochs import epoch_report
from train_jobs.runs import Run
from train_jobs.search import longest, require_changeable, scheduler, searcher, tune_space, within
from train_jobs.sweeps import Sweep


def settings(**changed: Any) -> SweepSettings:
    return SweepSettings(**{"epochs": 12, "batch_size": 32, **changed})


def sweep_of(settings: SweepSettings, folder: Path = Path("nowhere")) -> Sweep:
    return Sweep(folder, settings, "tracking")


def test_samples_lie_in_the_space() -> None:
    space = parse_space(
        ("lr=log:0.001:0.1", "epochs=int:2:3", "accumulate=logint:1:8", "warmup=uniform:0:0.5", "flip=true,false"),
        settings(),
    )
    drawn = [{name: domain.sample() for name, domain in tune_space(space).items()} for _ in range(200)]
    assert all(0.001 <= each["lr"] <= 0.1 and 0 <= each["warmup"] <= 0.5 for each in drawn)
    assert {each["epochs"] for each in drawn} == {2, 3}, "both ends, and whole"
    assert {each["accumulate"] for each in drawn} >= {1, 8}
    assert {each["flip"] for each in drawn} == {True, False}
    assert 0.3 < sum(each["lr"] < 0.01 for each in drawn) / 200 < 0.7, "orders of magnitude are alike"


def test_the_first_trial_is_what_would_be_used_without_a_sweep() -> None:
    base = settings(lr=0.02, shift=0.1)
    space = parse_space(("lr=log:0.001:0.1", "shift=uniform:0:0.2"), base)
    chosen = searcher(base, space)
    assert isinstance(chosen, OptunaSearch)
    chosen.set_search_properties("score", "max", dict(tune_space(space)))
    assert chosen.suggest("a") == {"lr": 0.02, "shift": 0.1}


@pytest.mark.parametrize("model", ["custom_cnn", "airbench"])
def test_so_it_is_with_the_default_space(model: str) -> None:
    """Which varies a learning rate and a dropout that nobody gave."""
    base = settings(model=model, optimizer="muon")
    space = parse_space((), base)
    chosen = searcher(base, space)
    assert isinstance(chosen, OptunaSearch)
    chosen.set_search_properties("score", "max", dict(tune_space(space)))
    first = chosen.suggest("a")
    assert first is not None
    dropout = build_net(model, 2, (32, 32)).get_submodule("dropout")
    assert isinstance(dropout, Dropout)
    assert (first["lr"], first["dropout"], first["weight_decay"]) == (0.05, dropout.p, base.weight_decay)


def test_settings_outside_of_the_space_are_not_tried() -> None:
    base = settings(lr=0.5)
    chosen = searcher(base, parse_space(("lr=log:0.001:0.1",), base))
    assert isinstance(chosen, OptunaSearch)
    assert not chosen._points_to_evaluate


def test_asha_leaves_the_last_epoch_to_the_trial() -> None:
    """Stopped at its last epoch, a trial would not hand over its weights."""
    asha = scheduler(sweep_of(settings()), parse_space((), settings()))
    assert isinstance(asha, AsyncHyperBandScheduler)
    (bracket,) = asha._brackets
    milestones = [rung[0] for rung in bracket._rungs]
    assert asha._max_t == 13
    assert sorted(milestones) == [3, 9]
    assert longest(settings(), parse_space(("epochs=int:3:40",), settings())) == 40


def test_asha_knows_its_rungs_again_in_a_sweep_that_goes_on(tmp_path: Path) -> None:
    """Ray Tune begins with an empty one: a trial of epoch 10 would enter its next score where others are at epoch 3."""
    sweep = sweep_of(settings(), tmp_path)
    new = pickle.loads(pickle.dumps(scheduler(sweep, parse_space((), settings()))))
    write_history(sweep.trial("old", {}), scores=[0.1 * epoch for epoch in range(1, 11)])
    for name in ("old", "young"):
        new.on_trial_add(None, Trial("stub", trial_id=name, stub=True))
    (bracket,) = new._brackets
    assert dict(bracket._rungs) == {
        9: {"old": pytest.approx(0.9)},
        3: {"old": pytest.approx(0.3)},
    }
    later = {"epoch": 11, "score": 0.99}
    old, young = (Trial("stub", trial_id=name, stub=True) for name in ("old", "young"))
    assert new.on_trial_result(None, old, later) == TrialScheduler.CONTINUE
    assert new.on_trial_result(None, young, {"epoch": 3, "score": 0.4}) == TrialScheduler.CONTINUE
    assert new.on_trial_result(None, young, {"epoch": 9, "score": 0.5}) == TrialScheduler.STOP


def write_history(run: Run, scores: list[float]) -> None:
    """Of a trial whose validation accuracies these are."""
    reports = [epoch_report(number, val_accuracy=score, val_loss=0.0) for number, score in enumerate(scores, 1)]
    run.folder.mkdir(parents=True)
    run.history_file.write_text(json.dumps([asdict(report) for report in reports]))


def test_population_based_training_varies_what_can_change() -> None:
    base = settings(search="pbt")
    space = parse_space(("lr=log:0.001:0.1", "dropout=uniform:0:0.5"), base)
    require_changeable(space)
    assert isinstance(scheduler(sweep_of(base), space), PopulationBasedTraining)
    with pytest.raises(BadInput, match="in mid-training, which epochs, model cannot; it varies: clip,"):
        require_changeable(parse_space(("model=custom_cnn,mobile", "epochs=2,3", "lr=log:0.001:0.1"), base))


def test_changed_settings_stay_within_their_range() -> None:
    space = parse_space(("lr=log:0.001:0.1", "dropout=uniform:0:0.5", "optimizer=sgd,adamw"), settings())
    assert within(space, {"lr": 0.12, "dropout": -0.1, "optimizer": "sgd"}) == {
        "lr": 0.1,
        "dropout": 0.0,
        "optimizer": "sgd",
    }
