"""Named settings, and recipe files that a sweep writes.

What each recipe reached, with the command, stands in docs/PERFORMANCE.md and in `runs/`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from app.errors import BadInput
from app.settings.fit import FitSettings
from app.settings.training import RunSettings

S = TypeVar("S", bound=RunSettings)


@dataclass(frozen=True, kw_only=True)
class Recipe(FitSettings):
    """What the speed-run recipes have in common (Jordan 2024, arXiv:2404.00498; Muon: Jordan et al. 2024)."""

    model: str = "airbench"
    optimizer: str = "muon"
    lr: float | None = 0.1
    momentum: float = 0.6
    weight_decay: float = 0.01
    schedule: str = "one_cycle"
    warmup: float = 0.2
    label_smoothing: float = 0.1
    batch_size: int | None = 256
    shift: float = 0.0625
    rotate: float = 0.0
    colour: float = 0.0
    grow_from: float = 0.625


QUICK = Recipe(model="airbench_half", epochs=2, grow_until=0.5)
STANDARD = Recipe(epochs=6)
BEST = Recipe(
    model="airbench_wide",
    epochs=22,
    batch_size=512,
    lr=0.15,
    weight_decay=0.1,
    label_smoothing=0.2,
    shift=0.125,
    cutout=0.3125,
    grow_until=0.75,
)
"""Weight decay keeps the weights small, and so each step of Muon large beside them, until the learning rate falls."""
RECIPES: dict[str, Recipe] = {"quick": QUICK, "standard": STANDARD, "best": BEST}


def with_recipe(settings: S, given: frozenset[str]) -> S:
    """The settings with the recipe's values wherever the user gave none, and without the recipe: it is spent.

    given: names of the fields that were typed. Raises BadInput for an unknown recipe.
    """
    if settings.recipe is None:
        return settings
    values = recipe_values(settings.recipe)
    taken = {name: value for name, value in values.items() if name not in given}
    return dataclasses.replace(settings, recipe=None, **taken)


def recipe_values(recipe: str) -> dict[str, Any]:
    """Every setting that a named recipe, or a recipe file, decides. Raises BadInput."""
    if recipe in RECIPES:
        return {
            field.name: getattr(RECIPES[recipe], field.name)
            for field in dataclasses.fields(FitSettings)
            if getattr(RECIPES[recipe], field.name) != field.default
        }
    path = Path(recipe).expanduser()
    if not path.is_file():
        raise BadInput(f"--recipe {recipe!r} is no file and none of {', '.join(RECIPES)}")
    return read_recipe(path)


def read_recipe(path: Path) -> dict[str, Any]:
    """Settings of a file that `write_recipe` wrote, checked. Raises BadInput that names the file."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise BadInput(f"recipe {path} cannot be read: {str(error).partition(chr(10))[0]}") from error
    known = {field.name for field in dataclasses.fields(FitSettings)}
    if not isinstance(content, dict) or not content or set(map(str, content)) - known:
        raise BadInput(f"recipe {path} is no list of training settings such as `lr: 0.01`")
    try:
        FitSettings(**content)
    except (TypeError, ValueError) as error:
        raise BadInput(f"recipe {path} holds a value of the wrong kind: {error}") from error
    except BadInput as error:
        raise BadInput(f"recipe {path}: {error}") from error
    return content


def write_recipe(settings: FitSettings, path: Path, *, comment: str) -> None:
    """Writes every setting of the loop that is not at its default, with a comment above."""
    values = {
        field.name: getattr(settings, field.name)
        for field in dataclasses.fields(FitSettings)
        if getattr(settings, field.name) != field.default
    }
    head = "".join(f"# {line}\n" for line in comment.splitlines())
    path.write_text(head + yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
