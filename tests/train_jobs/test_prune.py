"""The steps of `manta prune`: what each removes, begins with and learns from; without training anything."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.artifact import CHECKPOINT_FILE, MODEL_FILE, read_manifest, write_manifest
from app.config import Home
from app.errors import BadInput, MantaError
from app.prune import Pruned
from app.registry import CHAMPION, ModelVersion, Registry
from app.settings import DistillSettings, PruneSettings
from tests.bundles import write_colour_bundle
from train_jobs import prune as prune_job
from train_jobs.prune import prune
from train_jobs.runs import Run

LEFT = Pruned(parameters_before=100, parameters=50, zeros=7)


class Steps:
    """Stands for pruning and fine-tuning, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.pruned: list[tuple[Path, Path, float, bool]] = []
        """(source, target, share, weights)."""
        self.trained: list[DistillSettings] = []

    def prune_checkpoint(self, source: Path, target: Path, *, share: float, weights: bool) -> Pruned:
        self.pruned.append((source, target, share, weights))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(f"pruned for step {len(self.pruned)}")
        return LEFT

    def train(self, settings: DistillSettings, home: Home) -> Any:
        self.trained.append(settings)
        assert settings.run is not None
        return SimpleNamespace(run=Run(home.runs / settings.run, settings, "tracking"))

    @property
    def shares(self) -> list[float]:
        return [share for _, _, share, _ in self.pruned]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    steps = Steps()
    monkeypatch.setattr(prune_job, "prune_checkpoint", steps.prune_checkpoint)
    monkeypatch.setattr(prune_job, "train", steps.train)
    return steps


@pytest.fixture
def whole(registry: Registry, tmp_path: Path) -> ModelVersion:
    """`pets/1`, the champion; its checkpoint only has a name."""
    folder = tmp_path / "whole"
    write_colour_bundle(folder, name="pets")
    (folder / CHECKPOINT_FILE).write_text("weights")
    version = registry.register(registry.start_run("whole", {}), folder, write_manifest(folder, read_manifest(folder)))
    registry.promote(version, CHAMPION, who="test", why="whole")
    return version


def settings(**changed: Any) -> PruneSettings:
    return PruneSettings(**{"version": "pets@champion", "run": "less", **changed})


def test_each_step_begins_with_what_the_one_before_left(home: Home, whole: ModelVersion, steps: Steps) -> None:
    """Each has a run of its own, from which the next takes the best weights."""
    done = prune(settings(steps=3), home)
    starts = [home.pruned / f"less-{step}.pt" for step in (1, 2, 3)]
    assert [target for _, target, _, _ in steps.pruned] == starts
    assert [source for source, _, _, _ in steps.pruned] == [
        whole.folder / CHECKPOINT_FILE,
        home.runs / "less-1" / "best.pt",
        home.runs / "less-2" / "best.pt",
    ]
    assert [each.run for each in steps.trained] == ["less-1", "less-2", "less-3"]
    assert [each.init for each in steps.trained] == [str(start) for start in starts]
    assert [(trained.run.name, pruned) for trained, pruned in done] == [
        (name, LEFT) for name in ("less-1", "less-2", "less-3")
    ]


def test_every_step_learns_from_the_whole_network(home: Home, whole: ModelVersion, steps: Steps) -> None:
    """By its number: another one may be champion before the last step begins."""
    asked = {"data": "cifar10", "epochs": 7, "lr": 0.02, "workers": "1:3", "tta": True, "git_commit": "abc"}
    prune(settings(steps=2, temperature=2.0, alpha=0.4, model="mobile", **asked), home)
    first, second = map(asdict, steps.trained)
    assert (first["teacher"], first["temperature"], first["alpha"]) == ("pets/1", 2.0, 0.4)
    assert (first["name"], first["model"]) == ("pets", "mean_colour"), "those of the version"
    assert {name: first[name] for name in asked} == asked
    assert second == {**first, "run": "less-2", "init": str(home.pruned / "less-2.pt")}


def test_a_pruned_version_may_have_a_name_of_its_own(home: Home, whole: ModelVersion, steps: Steps) -> None:
    prune(settings(steps=1, name="small pets", run=None), home)
    (trained,) = steps.trained
    assert trained.name == "small pets"
    assert trained.run is not None
    assert trained.run.startswith("pets-pruned-"), "named after the version"
    assert trained.run.endswith("-1")


@pytest.mark.parametrize(("remove", "count"), [(0.5, 1), (0.5, 2), (0.36, 2), (0.9, 5)])
def test_channels_go_in_equal_shares_of_what_is_left(
    home: Home, whole: ModelVersion, steps: Steps, remove: float, count: int
) -> None:
    prune(settings(remove=remove, steps=count), home)
    assert len(steps.shares) == count
    assert len(set(steps.shares)) == 1
    left = 1.0
    for share in steps.shares:
        left *= 1 - share
    assert left == pytest.approx(1 - remove)
    assert not any(weights for *_, weights in steps.pruned)


def test_weights_stay_zero_so_that_each_step_asks_for_more(home: Home, whole: ModelVersion, steps: Steps) -> None:
    prune(settings(remove=0.6, steps=3, weights=True), home)
    assert steps.shares == pytest.approx([0.2, 0.4, 0.6])
    assert all(weights for *_, weights in steps.pruned)


@pytest.mark.parametrize("taken", ["less-1", "less-2"])
def test_the_runs_of_a_former_pruning_are_left_alone(home: Home, whole: ModelVersion, steps: Steps, taken: str) -> None:
    """The file that its run began with is the one that this would write anew."""
    start = home.pruned / f"{taken}.pt"
    for file in (start, home.runs / taken / "run.json"):
        file.parent.mkdir(parents=True)
        file.write_text("of the former")
    with pytest.raises(BadInput, match=f"^run {taken} exists already: go on with manta train --resume {taken}, or"):
        prune(settings(steps=2), home)
    assert (steps.pruned, steps.trained) == ([], []), "also when only a later step is in the way"
    assert start.read_text() == "of the former"
    prune(settings(steps=2, run="lesser"), home)
    assert start.read_text() == "of the former"


def test_what_is_interrupted_leaves_no_later_step(
    home: Home, whole: ModelVersion, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise MantaError("interrupted")

    monkeypatch.setattr(prune_job, "train", interrupted)
    with pytest.raises(MantaError, match="interrupted"):
        prune(settings(steps=2), home)
    assert len(steps.pruned) == 1


def test_a_bundle_that_was_changed_is_not_pruned(home: Home, whole: ModelVersion, steps: Steps) -> None:
    (whole.folder / MODEL_FILE).write_bytes(b"cut off")
    with pytest.raises(MantaError, match=r"model\.onnx was changed"):
        prune(settings(), home)
    assert steps.pruned == []
