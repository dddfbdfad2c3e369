"""What a run begins with: versions and files that stay what they were, and what does not fit said before any worker."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from app.artifact import CHECKPOINT_FILE, read_manifest, write_manifest
from app.config import Home
from app.datasets import Dataset
from app.errors import BadInput, MantaError, NotFound
from app.registry import CHAMPION, ModelVersion, Registry
from app.settings import DistillSettings, TrainSettings
from tests.app.tiny_data import colour_dataset
from tests.bundles import write_colour_bundle
from train_jobs import train as train_job
from train_jobs.runs import open_run
from train_jobs.teachers import TeacherTask, prepare_teacher
from train_jobs.train import check_fits, initial_weights, train, with_references


def register(registry: Registry, folder: Path, **options: Any) -> ModelVersion:
    """The next version of `pets`, whose checkpoint only has a name."""
    write_colour_bundle(folder, name="pets", **options)
    (folder / CHECKPOINT_FILE).write_text(f"weights of {folder.name}")
    manifest = write_manifest(folder, read_manifest(folder))
    return registry.register(registry.start_run("made", {}), folder, manifest)


@pytest.fixture
def versions(registry: Registry, tmp_path: Path) -> list[ModelVersion]:
    """Two, the first of which is the champion."""
    made = [register(registry, tmp_path / name) for name in ("one", "two")]
    registry.promote(made[0], CHAMPION, who="test", why="first")
    return made


def promote(registry: Registry, version: ModelVersion) -> None:
    registry.promote(version, CHAMPION, who="test", why="next")


def test_an_alias_is_pinned_to_the_version_it_names_now(registry: Registry, versions: list[ModelVersion]) -> None:
    asked = DistillSettings(init="pets@champion", teacher="pets")
    pinned = with_references(asked, registry)
    assert isinstance(pinned, DistillSettings)
    promote(registry, versions[1])
    assert (pinned.init, pinned.teacher) == ("pets/1", "pets/1")
    assert initial_weights(pinned, registry) == versions[0].folder / CHECKPOINT_FILE
    assert with_references(pinned, registry) == pinned
    assert with_references(asked, registry) != pinned, "or the alias had not moved"


def test_a_file_to_begin_with_is_found_from_any_folder(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that goes on may be started elsewhere."""
    file = tmp_path / "weights.pt"
    file.touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for init in ("weights.pt", "~/weights.pt", str(file)):
        pinned = with_references(TrainSettings(init=init), registry)
        assert pinned.init == str(file)
        assert initial_weights(pinned, registry) == file


def test_without_references_nothing_is_changed(registry: Registry) -> None:
    settings = TrainSettings(epochs=3)
    assert with_references(settings, registry) == settings
    assert initial_weights(settings, registry) is None


@pytest.mark.parametrize("references", [{"init": "pets@champion"}, {"teacher": "pets@champion"}])
def test_a_reference_to_nothing_is_said(registry: Registry, references: dict[str, Any]) -> None:
    with pytest.raises(NotFound, match="there is no model 'pets'"):
        with_references(DistillSettings(**{"teacher": "pets", **references}), registry)


@pytest.fixture
def begun_with(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, TeacherTask]]:
    """(weights, teacher) of each training, which is interrupted at once; without a cluster."""
    begun: list[tuple[Path, TeacherTask]] = []

    def interrupted(*_: object, initial: Path, teacher: TeacherTask, **__: object) -> None:
        begun.append((initial, teacher))
        raise MantaError("interrupted")

    monkeypatch.setattr(train_job, "dataset_to_train_on", lambda *_, **__: colour_dataset())
    monkeypatch.setattr(train_job, "system_metrics", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(train_job, "fit_on_ray", interrupted)
    return begun


def test_a_run_goes_on_with_the_versions_it_began_with(
    home: Home, registry: Registry, versions: list[ModelVersion], begun_with: list[tuple[Path, TeacherTask]]
) -> None:
    """Another version is champion by then."""
    asked = DistillSettings(run="taught", model="mobile", epochs=1, init="pets@champion", teacher="pets@champion")
    for settings in (asked, TrainSettings(resume="taught")):
        with pytest.raises(MantaError, match="interrupted"):
            train(settings, home)
        promote(registry, versions[1])
    kept = open_run(home, "taught").settings
    assert isinstance(kept, DistillSettings)
    assert (kept.init, kept.teacher) == ("pets/1", "pets/1")
    weights = versions[0].folder / CHECKPOINT_FILE
    assert [(initial, teacher.checkpoint) for initial, teacher in begun_with] == [(weights, weights)] * 2


@pytest.mark.parametrize(
    ("bundle", "refusal"),
    [
        ({"labels": ("cyan", "magenta", "yellow")}, r"the classes of colours are not those of pets/1"),
        ({"labels": ("green", "red", "blue")}, r"the classes of colours are not those of pets/1"),
        ({"size": 16}, r"pets/1 does not take images of 8x8; pass its --image-size"),
    ],
)
def test_a_teacher_of_something_else_is_refused(
    home: Home, registry: Registry, tmp_path: Path, bundle: dict[str, Any], refusal: str
) -> None:
    """Of other classes, of the same in another order, or of images of another size."""
    teacher = register(registry, tmp_path / "teacher", **bundle)
    with pytest.raises(BadInput, match=f"^{refusal}$"):
        prepare_teacher(DistillSettings(teacher="pets/1"), teacher, colour_dataset(), home)


def test_a_teacher_that_fits_is_asked_on_the_workers(home: Home, versions: list[ModelVersion]) -> None:
    """Where images are augmented; its answers are not computed here then."""
    settings = DistillSettings(teacher="pets/1", shift=0.1, temperature=3.0, alpha=0.7)
    task = prepare_teacher(settings, versions[0], colour_dataset(), home)
    weights = versions[0].folder / CHECKPOINT_FILE
    assert task == TeacherTask(checkpoint=weights, logits=None, temperature=3.0, alpha=0.7)


@pytest.mark.parametrize(
    ("settings", "dataset", "refusal"),
    [
        (TrainSettings(model="mobile"), colour_dataset(size=(8, 6)), "needs images of at least 8x8 pixels"),
        (
            TrainSettings(model="mobile", workers="25"),
            colour_dataset(),
            "48 training images are too few for 25 workers",
        ),
        (TrainSettings(model="mobile", workers="1:25"), colour_dataset(), "too few for 25 workers"),
    ],
)
def test_data_that_no_worker_could_use_are_refused(settings: TrainSettings, dataset: Dataset, refusal: str) -> None:
    check_fits(TrainSettings(model="mobile", workers="24"), colour_dataset())
    with pytest.raises(BadInput, match=refusal):
        check_fits(settings, dataset)
