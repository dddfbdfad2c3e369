"""What MLflow is told of trials, also over an interruption and while it is away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ray.tune.experiment import Trial

from app.config import Home
from app.errors import MantaError
from app.registry import Registry
from app.run_records import KIND_TAG
from app.settings import SweepSettings
from train_jobs import trial_records
from train_jobs.search import EPOCH
from train_jobs.sweeps import Sweep
from train_jobs.trial_records import TrialRecords


@pytest.fixture
def sweep(home: Home, registry: Registry) -> Sweep:
    return new_sweep(home, registry, "search")


def new_sweep(home: Home, registry: Registry, name: str) -> Sweep:
    sweep = Sweep(home.sweeps / name, SweepSettings(epochs=9, trials=2), registry.start_run(name, {}))
    sweep.save()
    return sweep


def trial_named(name: str) -> Trial:
    return Trial("stub", trial_id=name, config={"lr": 0.02}, stub=True)


def start(records: TrialRecords, trial: Trial) -> None:
    records.on_trial_start(0, [], trial)


def report(records: TrialRecords, trial: Trial, epoch: int) -> None:
    records.on_trial_result(0, [], trial, {EPOCH: epoch, "val_accuracy": epoch / 10, "score": 1.0})


def run_of(registry: Registry, sweep: Sweep, name: str) -> str:
    """The one below the sweep's."""
    found = registry.child(sweep.tracking_run_id, name)
    assert found is not None
    return found


def logged(registry: Registry, run: str) -> list[tuple[int, float]]:
    """(epoch, validation accuracy) of each."""
    return [(each.step, each.value) for each in registry._client.get_metric_history(run, "val_accuracy")]


def status(registry: Registry, run: str) -> str:
    return str(registry._client.get_run(run).info.status)


def below(registry: Registry, sweep: Sweep) -> list[str]:
    """Names of the runs below that of the sweep."""
    condition = f"tags.`mlflow.parentRunId` = '{sweep.tracking_run_id}'"
    found = registry._client.search_runs([registry._experiment()], condition)
    return sorted(run.info.run_name for run in found)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Metrics are logged with every report, not every ten seconds."""
    monkeypatch.setattr(trial_records, "LOG_EVERY_S", -1.0)


@pytest.fixture
def failing_once(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes the next call of this method of the registry fail, as while a tracking server restarts."""

    def break_once(method: str) -> None:
        real = getattr(Registry, method)

        def fail(*_: Any, **__: Any) -> None:
            monkeypatch.setattr(Registry, method, real)
            raise MantaError("the registry is away")

        monkeypatch.setattr(Registry, method, fail)

    return break_once


def test_a_trial_is_one_run_below_the_sweeps(home: Home, registry: Registry, sweep: Sweep) -> None:
    records, trial = TrialRecords(home, sweep), trial_named("t1")
    start(records, trial)
    for epoch in (1, 2):
        report(records, trial, epoch)
    run = run_of(registry, sweep, "search-t1")
    assert logged(registry, run) == [], "a transaction for each epoch would hold up every trial"
    records.on_trial_complete(0, [], trial)
    assert logged(registry, run) == [(1, 0.1), (2, 0.2)]
    assert status(registry, run) == "FINISHED"
    found = registry._client.get_run(run).data
    assert (found.params, found.tags[KIND_TAG]) == ({"lr": "0.02"}, "trial")
    assert "score" not in found.metrics


def test_what_was_lost_with_the_driver_is_found_again(home: Home, registry: Registry, sweep: Sweep) -> None:
    """Ray Tune's state may be older than the run: it goes on as the same one, and so it does with the state."""
    first, trial = TrialRecords(home, sweep), trial_named("t1")
    start(first, trial)
    run = run_of(registry, sweep, "search-t1")
    registry.end_children(sweep.tracking_run_id, "KILLED")
    forgotten, restored = TrialRecords(home, sweep), TrialRecords(home, sweep)
    restored.set_state(first.get_state())
    for records in (forgotten, restored):
        start(records, trial)
        assert records.get_state()["run_ids"] == {"t1": run}
        assert status(registry, run) == "RUNNING"
    assert below(registry, sweep) == ["search-t1"]


def test_a_trial_of_that_name_in_another_sweep_is_another(home: Home, registry: Registry, sweep: Sweep) -> None:
    """As where the folder of a sweep was deleted, and its name is used again."""
    start(TrialRecords(home, sweep), trial_named("t1"))
    again = new_sweep(home, registry, "search")
    records = TrialRecords(home, again)
    start(records, trial_named("t1"))
    former = run_of(registry, sweep, "search-t1")
    assert records.get_state()["run_ids"]["t1"] != former
    assert (below(registry, sweep), below(registry, again)) == (["search-t1"], ["search-t1"])


def test_metrics_wait_for_a_registry_that_is_away(
    home: Home,
    registry: Registry,
    sweep: Sweep,
    at_once: None,
    failing_once: Callable[[str], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    records, trial = TrialRecords(home, sweep), trial_named("t1")
    start(records, trial)
    run = run_of(registry, sweep, "search-t1")
    failing_once("log_history")
    report(records, trial, 1)
    assert logged(registry, run) == []
    assert capsys.readouterr().out == "the sweep goes on, but is not recorded for now: the registry is away\n"
    report(records, trial, 2)
    assert logged(registry, run) == [(1, 0.1), (2, 0.2)]
    report(records, trial, 3)
    assert logged(registry, run) == [(1, 0.1), (2, 0.2), (3, 0.3)], "each once"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("missed", ["log_history", "end_run"])
def test_how_the_last_trial_ended_is_told_when_the_registry_is_back(
    home: Home, registry: Registry, sweep: Sweep, failing_once: Callable[[str], None], missed: str
) -> None:
    """No further report comes; what is open when the sweep ends would count as interrupted."""
    records, trial = TrialRecords(home, sweep), trial_named("t1")
    start(records, trial)
    report(records, trial, 1)
    failing_once(missed)
    records.on_trial_complete(0, [], trial)
    run = run_of(registry, sweep, "search-t1")
    assert status(registry, run) == "RUNNING"
    records.on_experiment_end([trial])
    assert (status(registry, run), logged(registry, run)) == ("FINISHED", [(1, 0.1)])


def test_a_run_that_could_not_be_opened_is_opened_later(
    home: Home, registry: Registry, sweep: Sweep, at_once: None, failing_once: Callable[[str], None]
) -> None:
    records, trial = TrialRecords(home, sweep), trial_named("t1")
    failing_once("start_run")
    start(records, trial)
    assert below(registry, sweep) == []
    report(records, trial, 1)
    assert logged(registry, run_of(registry, sweep, "search-t1")) == [(1, 0.1)]


def test_what_waits_outlasts_an_interruption(
    home: Home, registry: Registry, sweep: Sweep, at_once: None, failing_once: Callable[[str], None]
) -> None:
    """It is part of the state that Ray Tune keeps; another trial's report brings it along."""
    first = TrialRecords(home, sweep)
    start(first, trial_named("t1"))
    failing_once("log_history")
    report(first, trial_named("t1"), 1)
    second = TrialRecords(home, sweep)
    second.set_state(first.get_state())
    report(second, trial_named("t2"), 1)
    for name in ("search-t1", "search-t2"):
        assert logged(registry, run_of(registry, sweep, name)) == [(1, 0.1)]


def test_a_state_from_before_metrics_could_wait(home: Home, sweep: Sweep) -> None:
    records = TrialRecords(home, sweep)
    records.set_state({"run_ids": {"t1": "run"}, "ended": {"t1"}})
    assert records.get_state() == {"run_ids": {"t1": "run"}, "ended": {"t1"}, "to_end": {}, "waiting": {}}
