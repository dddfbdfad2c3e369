"""What MLflow and the home's folders tell of runs, without a cluster."""

from __future__ import annotations

import pytest

from app.config import Home
from app.errors import MantaError, NotFound
from app.registry import Registry
from app.run_lock import locked
from app.run_records import KIND_TAG, RunRecord, RunRecords
from tests.bundles import write_colour_bundle

SETTINGS = {"model": "mobile", "data": "digits", "epochs": 3, "lr": 0.1}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("runs") / "home")


@pytest.fixture(scope="module")
def registry(home: Home) -> Registry:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return Registry(home)


@pytest.fixture(scope="module")
def records(home: Home, registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> RunRecords:
    """A finished run with a version, a sweep with two trials, and a conversion."""
    first = start(registry, "first", "train")
    registry.log_metrics(first, {"epochs_done": 2, "best_epoch": 1, "best_val_accuracy": 0.8, "val_accuracy": 0.7})
    registry.log_metrics(first, {"test_accuracy_onnx": 0.75, "parameters": 12_345})
    folder = tmp_path_factory.mktemp("bundle") / "b"
    registry.register(first, folder, write_colour_bundle(folder))
    registry.register(first, folder, write_colour_bundle(folder))
    registry.end_run(first, "FINISHED")
    sweep = start(registry, "search", "sweep")
    for number, accuracy in enumerate((0.6, 0.9)):
        trial = registry.start_run(f"search-{number}", {"lr": number}, parent=sweep, tags={KIND_TAG: "trial"})
        registry.log_metrics(trial, {"best_val_accuracy": accuracy})
        registry.end_run(trial, "FINISHED")
    registry.log_metrics(sweep, {"val_accuracy": 0.9})
    registry.end_run(sweep, "FINISHED")
    registry.end_run(registry.start_run("convert colours/1", {}), "FINISHED")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return RunRecords(home)


def start(registry: Registry, name: str, kind: str) -> str:
    return registry.start_run(name, SETTINGS, tags={KIND_TAG: kind})


def names(found: list[RunRecord]) -> list[str]:
    return [record.name for record in found]


def test_newest_first_and_conversions_are_no_runs(records: RunRecords) -> None:
    assert names(records.latest(10)) == ["search", "first"]
    assert names(records.latest(1)) == ["search"]
    assert names(records.latest(10, trials=True)) == ["search-1", "search-0", "search", "first"]


def test_what_a_finished_run_tells(records: RunRecords) -> None:
    run = records.find("first")
    assert (run.kind, run.status, run.versions) == ("train", "finished", ("colours/1", "colours/2"))
    assert (run.epochs_done, run.epochs_asked, run.best_epoch) == (2, 3, 1)
    assert (run.val_accuracy, run.test_accuracy, run.parameters) == (0.8, 0.75, 12_345)
    assert run.seconds is not None
    assert 0 <= run.seconds < 600
    assert run.to_json()["settings"] == {"model": "mobile", "data": "digits", "epochs": "3", "lr": "0.1"}


def test_trials_have_the_settings_of_their_sweep_and_their_own(records: RunRecords) -> None:
    best, other = records.trials(records.find("search"))
    assert (best.name, best.sweep, best.val_accuracy) == ("search-1", "search", 0.9)
    assert best.settings == {"model": "mobile", "data": "digits", "epochs": "3", "lr": "1"}
    assert other.settings["lr"] == "0"


def test_a_sweep_tells_the_accuracy_of_its_best_trial(records: RunRecords) -> None:
    assert records.find("search").val_accuracy == 0.9


@pytest.mark.parametrize("name", ["nobody", "convert colours/1", "it's", 'the "best"', ""])
def test_an_unknown_name_is_said_with_those_there_are(records: RunRecords, name: str) -> None:
    with pytest.raises(NotFound) as caught:
        records.find(name)
    assert str(caught.value) == f"there is no run {name!r} (latest: search, first)"


@pytest.mark.parametrize(("kind", "place"), [("train", "runs"), ("distill", "runs"), ("sweep", "sweeps")])
def test_running_is_what_somebody_holds_the_lock_of(
    home: Home, registry: Registry, records: RunRecords, kind: str, place: str
) -> None:
    run = start(registry, f"killed-{kind}", kind)
    try:
        assert records.find(f"killed-{kind}").status == "running", "its folder is in another home"
        folder = home.root / place / f"killed-{kind}"
        folder.mkdir(parents=True)
        with locked(folder):
            running = records.find(f"killed-{kind}")
            assert running.status == "running"
            assert running.seconds is not None
        killed = records.find(f"killed-{kind}")
        assert (killed.status, killed.ended, killed.seconds) == ("interrupted", None, None)
    finally:
        registry._client.delete_run(run)


def test_a_trial_runs_as_long_as_its_sweep(home: Home, registry: Registry, records: RunRecords) -> None:
    sweep = start(registry, "killed", "sweep")
    trial = registry.start_run("killed-0", {}, parent=sweep, tags={KIND_TAG: "trial"})
    try:
        (home.sweeps / "killed").mkdir(parents=True)
        with locked(home.sweeps / "killed"):
            assert records.find("killed-0").status == "running"
        assert records.find("killed-0").status == "interrupted"
    finally:
        for run in (trial, sweep):
            registry._client.delete_run(run)


@pytest.mark.parametrize(
    ("ended", "status"), [("FINISHED", "finished"), ("FAILED", "failed"), ("KILLED", "interrupted")]
)
def test_how_runs_end(registry: Registry, records: RunRecords, ended: str, status: str) -> None:
    run = start(registry, f"ended-{status}", "train")
    registry.end_run(run, ended)  # type: ignore[arg-type]
    try:
        assert records.find(f"ended-{status}").status == status
        registry.reopen_run(run)
        assert records.find(f"ended-{status}").ended is None, "what is reopened has not ended"
    finally:
        registry._client.delete_run(run)


def test_a_server_that_does_not_answer_is_one_line(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(MantaError, match=r"^the registry at http://127\.0\.0\.1:1 answers: "):
        RunRecords(home).latest(5)
