"""What a student, or a pruned version, is trained on where no data is given: what the teacher was trained on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from app.artifact import InputSpec, Lineage, Manifest, write_manifest
from app.cli.job_settings import prepared
from app.cli.main import app
from app.config import Home
from app.datasets import prepare
from app.errors import BadInput, NotFound
from app.options import to_argv
from app.settings import DistillSettings, PruneSettings, TrainSettings
from train_jobs import prune as prune_job
from train_jobs import train as train_job
from train_jobs.data import dataset_to_train_on
from train_jobs.runs import Run, open_run, run_to_resume

DIGEST = "d" * 64


class Chosen(Exception):
    """Images would be read here."""


@pytest.fixture
def teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The only version of a registry; a job ends where it chose its data."""
    manifest = Manifest(
        name="photos",
        architecture="mobile",
        labels=("cat", "dog"),
        input=InputSpec(height=32, width=32, resize="area"),
        created="2026-01-01T00:00:00+00:00",
        lineage=Lineage(dataset="photos", dataset_digest=DIGEST),
    )
    write_manifest(tmp_path, manifest)
    version = SimpleNamespace(reference="photos/1", name="photos", folder=tmp_path)

    def choose(settings: TrainSettings, _home: Home, *, digest: str) -> None:
        raise Chosen(settings.data, digest)

    registry = SimpleNamespace(resolve=lambda _reference: version)
    monkeypatch.setattr(train_job, "Registry", lambda _home: registry)
    monkeypatch.setattr(prune_job, "Registry", lambda _home: registry)
    monkeypatch.setattr(train_job, "dataset_to_train_on", choose)


@pytest.mark.usefixtures("teacher")
@pytest.mark.parametrize(("data", "chosen"), [("", ("", DIGEST)), ("/photos", ("/photos", ""))])
def test_a_student_is_trained_on_what_its_teacher_was(data: str, chosen: tuple[str, str], home: Home) -> None:
    with pytest.raises(Chosen) as raised:
        train_job.train(DistillSettings(teacher="photos/1", data=data), home)
    assert raised.value.args == chosen


@pytest.mark.usefixtures("teacher")
def test_a_pruned_version_is_trained_on_what_the_whole_one_was(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    left = SimpleNamespace(parameters_before=2, parameters=1)
    monkeypatch.setattr(prune_job, "prune_checkpoint", lambda *_args, **_options: left)
    with pytest.raises(Chosen) as raised:
        prune_job.prune(PruneSettings(version="photos/1"), home)
    assert raised.value.args == ("", DIGEST)


def test_it_is_found_in_the_cache_also_when_a_run_goes_on(home: Home) -> None:
    digits = prepare("digits", cache=home.datasets)
    settings = DistillSettings(teacher="digits/1")
    assert dataset_to_train_on(settings, home, digest=digits.digest).digest == digits.digest
    with pytest.raises(NotFound, match="is not cached any more"):
        dataset_to_train_on(settings, home, digest=DIGEST)


def test_a_student_s_run_goes_on_by_its_name_alone(home: Home) -> None:
    run = Run(home.runs / "mine", DistillSettings(teacher="photos/1"), "tracking", DIGEST)
    run.save()
    assert open_run(home, "mine") == run
    assert run_to_resume(home, TrainSettings(resume="mine")) == run
    assert run_to_resume(home, DistillSettings(teacher="photos/1", resume="mine")) == run
    with pytest.raises(BadInput, match=r"leave out --alpha 0\.5$"):
        run_to_resume(home, DistillSettings(teacher="photos/1", resume="mine", alpha=0.5))


def test_the_command_line_names_no_data_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    settings = prepared(DistillSettings(teacher="photos/1"))
    assert "--data" not in to_argv(settings)
    assert settings.run is None, "the job names the run after the data"


def test_only_a_teacher_has_data_of_its_own() -> None:
    with pytest.raises(BadInput, match="--data must not be empty"):
        TrainSettings(data="")
    with pytest.raises(BadInput, match="--image-size is for images that --data names"):
        DistillSettings(teacher="photos/1", image_size=32)


def test_options_that_change_nothing_are_not_listed() -> None:
    def options(verb: str) -> set[str]:
        text = CliRunner().invoke(app, [verb, "--help"]).output
        return {word for word in text.split() if word.startswith("--")}

    of_train: set[Any] = {"--resume", "--init", "--model"}
    assert of_train <= options("train")
    assert not of_train & options("prune")
    for verb in ("train", "sweep", "distill", "prune", "pipeline", "convert"):
        assert not {"--git-commit", "--command"} & options(verb)
