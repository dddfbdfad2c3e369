"""Recipes: named ones, files, and what the user typed besides."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import BadInput
from app.settings import RECIPES, FitSettings, TrainSettings, with_recipe, write_recipe
from tests.app.parsing import parse


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_sets_what_it_decides(name: str) -> None:
    settings = parse(TrainSettings, ["--recipe", name])
    recipe = RECIPES[name]
    assert FitSettings(
        **{field: getattr(settings, field) for field in FitSettings.__dataclass_fields__}
    ) == FitSettings(**{field: getattr(recipe, field) for field in FitSettings.__dataclass_fields__})
    assert settings.recipe is None, "it is spent: the job is told the settings themselves"


def test_what_is_typed_wins_even_when_it_is_a_default() -> None:
    default = FitSettings()
    settings = parse(
        TrainSettings, ["--recipe", "quick", "--rotate", str(default.rotate), "--epochs", "9", "--optimizer", "adamw"]
    )
    assert (settings.rotate, settings.epochs, settings.optimizer) == (default.rotate, 9, "adamw")
    assert settings.model == RECIPES["quick"].model


def test_a_recipe_file_is_ready_to_run(tmp_path: Path) -> None:
    tuned = FitSettings(model="mobile", lr=0.0123, mixup=0.1, batch_size=32, flip=False, alternate_flip=False)
    write_recipe(tuned, tmp_path / "recipe.yaml", comment="best of 8 trials\nval 97 %")
    assert (tmp_path / "recipe.yaml").read_text().startswith("# best of 8 trials\n# val 97 %\n")
    settings = parse(TrainSettings, ["--recipe", str(tmp_path / "recipe.yaml"), "--seed", "5"])
    assert (settings.model, settings.lr, settings.mixup, settings.batch_size) == ("mobile", 0.0123, 0.1, 32)
    assert (settings.flip, settings.alternate_flip, settings.seed) == (False, False, 5)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no list of training settings"),
        ("[1, 2]", "no list of training settings"),
        ("speed: 9", "no list of training settings"),
        ("lr: -1", "--lr must be a number above 0"),
        ("lr: fast", "wrong kind"),
        ("a: b: c", "cannot be read"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(BadInput, match=says) as caught:
        with_recipe(TrainSettings(recipe=str(tmp_path / "bad.yaml")), frozenset())
    assert "bad.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_recipe_is_refused_with_the_names_there_are() -> None:

    with pytest.raises(BadInput, match=r"'slow' is no file and none of quick, standard, best"):
        with_recipe(TrainSettings(recipe="slow"), frozenset())
