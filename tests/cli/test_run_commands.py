"""`manta runs`: the list, one run, a sweep and a comparison, without a cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.cli.run_commands import duration_text, runs
from app.config import Home
from app.errors import NotFound
from app.registry import Registry
from app.run_records import KIND_TAG
from tests.cli.manta import assert_refused, manta_here, manta_json_here
from tests.pipeline_run import PipelineRun

SETTINGS = {"model": "mobile", "data": "digits", "epochs": 3, "lr": 0.1, "dropout": None}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A finished run, one whose driver was killed, and a sweep of two trials."""
    home = Home(tmp_path_factory.mktemp("runs") / "home")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        registry = Registry(home)
    done = registry.start_run("done", {**SETTINGS, "run": "done"}, tags={KIND_TAG: "train"})
    registry.log_metrics(done, {"epochs_done": 3, "best_epoch": 2, "best_val_accuracy": 0.912, "train_seconds": 90})
    registry.end_run(done, "FINISHED")
    registry.start_run("killed", {**SETTINGS, "run": "killed", "lr": 0.2}, tags={KIND_TAG: "distill"})
    (home.runs / "killed").mkdir(parents=True)
    sweep = registry.start_run("search", SETTINGS, tags={KIND_TAG: "sweep"})
    for name, lr, accuracy in (("search-a", 0.3, 0.5), ("search-b", 0.4, 0.7)):
        trial = registry.start_run(name, {"lr": lr}, parent=sweep, tags={KIND_TAG: "trial"})
        registry.log_metrics(trial, {"best_val_accuracy": accuracy, "epochs_done": 1})
        registry.end_run(trial, "FINISHED")
    registry.end_run(sweep, "FINISHED")
    return home


@pytest.fixture
def show(kept: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """What the command prints for people, called as typer does."""
    monkeypatch.setenv("MANTA_HOME", str(kept.root))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def call(*names: str, **options: Any) -> str:
        runs(names=list(names), **{"limit": 20, **options})
        return capsys.readouterr().out

    return call


def rows(text: str) -> dict[str, list[str]]:
    """Lines of a table by their first word."""
    return {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.strip()}


def test_the_list_for_scripts(kept: Home) -> None:
    listed = manta_json_here(kept, "runs")["runs"]
    assert [(run["name"], run["kind"], run["status"]) for run in listed] == [
        ("search", "sweep", "finished"),
        ("killed", "distill", "interrupted"),
        ("done", "train", "finished"),
    ]
    assert listed[-1]["epochs"] == {"done": 3, "asked": 3}
    assert (listed[-1]["val_accuracy"], listed[-1]["best_epoch"], listed[-1]["train_seconds"]) == (0.912, 2, 90)


def test_the_list_for_people(show: Any) -> None:
    text = show()
    assert rows(text)["done"][:5] == ["train", "mobile", "digits", "3/3", "91.20%"]
    assert rows(text)["killed"][:4] == ["distill", "mobile", "digits", "0/3"]
    assert "interrupted" in rows(text)["killed"]
    assert "search-a" not in text
    following = text.partition("next:")[2].split("\n")
    assert following[1:3] == ["  manta train --resume killed", "  manta runs search killed"]


def test_trials_are_listed_on_demand_and_the_list_has_a_limit(show: Any) -> None:
    assert {"search-a", "search-b"} <= rows(show(trials=True)).keys()
    text = show(limit=1)
    assert "search" in rows(text)
    assert "done" not in rows(text)


def test_one_run_with_its_settings(show: Any) -> None:
    text = show("done")
    assert "best epoch" in text
    assert rows(text)["lr"] == ["0.1"]
    assert "dropout" not in text, "what was not set is not shown"
    assert "1 min 30 s" in text


def test_a_sweep_shows_its_trials_with_what_was_varied_the_best_first(show: Any) -> None:
    text = show("search")
    table = text[text.index("trial ") :]
    assert table.index("search-b") < table.index("search-a")
    assert rows(table)["search-b"] == ["70.00%", "1/3", "finished", "0.4"]
    assert "manta runs search-b search-a" in text


def test_a_comparison_shows_what_differs_side_by_side(show: Any) -> None:
    text = show("done", "killed", "done")
    table = text.partition("next:")[0]
    assert table.splitlines()[0].split() == ["done", "killed"]
    assert rows(table)["lr"] == ["0.1", "0.2"]
    assert rows(table)["status"] == ["finished", "interrupted"]
    assert "mobile" not in table, "what all have in common is left out"
    assert "run" not in rows(table)


def test_an_unknown_run_is_one_line(kept: Home, show: Any) -> None:
    assert_refused(manta_here(kept, "runs", "nobody"), 3, "there is no run 'nobody' (latest: search, killed, done)")
    with pytest.raises(NotFound):
        show("done", "nobody")


def test_without_runs_it_says_how_to_make_one(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    runs(json=True)
    assert json.loads(capsys.readouterr().out) == {"runs": []}
    runs()
    assert "manta train" in capsys.readouterr().out
    with pytest.raises(NotFound, match=r"there is no run 'x' \(latest: none\)"):
        runs(names=["x"])


def test_a_long_path_is_shown_by_its_end(show: Any, kept: Home, tmp_path: Path) -> None:
    registry = Registry(kept)
    data = "/a/very/long/path/that/nobody/wants/to/read/photos.zip"
    run = registry.start_run("long", {"data": data}, tags={KIND_TAG: "train"})
    try:
        (shown,) = (word for word in rows(show())["long"] if "photos.zip" in word)
        assert shown.startswith("…")
        assert len(shown) <= 30
    finally:
        registry._client.delete_run(run)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (3.21, "3.2 s"),
        (59.99, "1 min 00 s"),
        (245, "4 min 05 s"),
        (7800, "2 h 10 min"),
        (90_000, "25 h 00 min"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration_text(seconds) == text


def test_a_real_run_tells_what_its_job_told(pipeline_run: PipelineRun) -> None:
    result = pipeline_run.result
    (run,) = manta_json_here(pipeline_run.home, "runs", "pipeline-digits")["runs"]
    assert (run["kind"], run["status"], run["data"]) == ("train", "finished", "digits")
    assert run["epochs"] == {"done": 6, "asked": 6}
    assert run["val_accuracy"] == result["val_accuracy"]
    assert run["test_accuracy"] == result["test_accuracy"]["onnx"]
    assert result["version"] in run["versions"]
    assert run["parameters"] > 10_000
    assert run["images_per_second"] > 0
