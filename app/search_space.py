"""What a sweep varies: one domain of values for each setting, written as `lr=log:0.001:0.1`.

Plain values: `train_jobs.search` turns them into what Ray Tune samples from.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from app.errors import BadInput
from app.settings import FitSettings

NOT_VARIED = frozenset({"seed", "checkpoint_epochs", "checkpoint_minutes"})
"""Settings of the loop that say nothing about how good a model gets."""
DEFAULT = (
    "weight_decay=log:0.001:0.1",
    "label_smoothing=uniform:0:0.15",
    "dropout=uniform:0:0.5",
    "shift=uniform:0:0.15",
)
"""Varied besides the learning rate when nothing else is asked for."""
LR_AROUND = 5
"""The default space reaches from a fifth of the learning rate that is used without a sweep to five times it."""


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `low` to `high`, both included."""

    low: float
    high: float
    log: bool = False
    """Whether each order of magnitude is as likely as any other."""
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """One of these."""

    values: tuple[Any, ...]


Domain = Range | Choice
Space = dict[str, Domain]
"""By the name of the setting."""


def parse_space(lines: tuple[str, ...], base: FitSettings) -> Space:
    """lines: `setting=domain`, or paths of YAML files; none stands for the default space.

    base: the settings of every trial, in which the others are replaced.
    Raises BadInput that names the line, also for values that the setting does not allow.
    """
    pairs = [line.partition("=")[::2] for line in read_files(lines) or default_space(base)]
    space = {name.strip().replace("-", "_"): _domain(name, text.strip()) for name, text in pairs}
    if len(space) < len(pairs):
        raise BadInput("--space names a setting twice")
    for name, domain in space.items():
        _check(name, domain, base)
    for (one, its), (other, others) in itertools.combinations(space.items(), 2):
        _check_together((one, its), (other, others), base)
    return space


def read_files(lines: tuple[str, ...]) -> tuple[str, ...]:
    """The lines, with those of a file in place of its path. Raises BadInput for a file that cannot be read."""
    every: list[str] = []
    for line in lines:
        every += [line] if "=" in line else _read(Path(line).expanduser())
    return tuple(every)


def default_space(base: FitSettings) -> tuple[str, ...]:
    return (f"lr=log:{base.peak_lr / LR_AROUND:g}:{base.peak_lr * LR_AROUND:g}", *DEFAULT)


def ends(domain: Domain) -> tuple[Any, ...]:
    """Values that are allowed when all are: the bounds, or every choice."""
    return domain.values if isinstance(domain, Choice) else (_number(domain.low, domain), _number(domain.high, domain))


def architectures(space: Space, base: FitSettings) -> tuple[str, ...]:
    """Every one that a trial may have."""
    models = space.get("model", Choice((base.model,)))
    return tuple(map(str, models.values)) if isinstance(models, Choice) else ()


def contains(domain: Domain, value: object) -> bool:
    if isinstance(domain, Choice):
        return value in domain.values
    return isinstance(value, int | float) and domain.low <= value <= domain.high


def _read(path: Path) -> list[str]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = str(error).partition("\n")[0]
        raise BadInput(f"--space {str(path)!r} is neither `setting=values` nor a YAML file: {reason}") from error
    if not isinstance(content, dict) or not content:
        raise BadInput(f"--space {path} holds no lines such as `lr: log:0.001:0.1`")
    return [f"{name}={_text(value)}" for name, value in content.items()]


def _text(value: Any) -> str:
    """A list or single value of YAML, as it is written in a line."""
    return ",".join(map(_text, value)) if isinstance(value, list) else json.dumps(value).strip('"')


def _domain(name: str, value: str) -> Domain:
    """`log:0.001:0.1`, `uniform:`, `int:` or `logint:` the same, or `a,b,c`."""
    kind, _, bounds = value.partition(":")
    if kind not in ("log", "uniform", "int", "logint"):
        return Choice(tuple(map(_value, value.split(","))))
    try:
        low, high = map(float, bounds.split(":"))
    except ValueError as error:
        raise BadInput(f"--space {name}={value} is no range such as {kind}:1:10") from error
    found = Range(low, high, log=kind.startswith("log"), whole=kind.endswith("int"))
    if not (-math.inf < low < high < math.inf) or (found.log and low <= 0):
        raise BadInput(f"--space {name}={value}: the first bound must be below the second, and above 0 for log")
    return found


def _value(text: str) -> Any:
    """As YAML has it, but for 1e-3, which is a text in YAML 1.1."""
    value = yaml.safe_load(text)
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _check(name: str, domain: Domain, base: FitSettings) -> None:
    """Raises BadInput for what is no setting, and for values of which it would be said in each trial."""
    known = {field.name for field in dataclasses.fields(FitSettings)} - NOT_VARIED
    if name not in known:
        raise BadInput(f"--space {name}: there is no such setting to vary; there are: {', '.join(sorted(known))}")
    for value in ends(domain):
        try:
            dataclasses.replace(base, **{name: value})
        except (TypeError, ValueError) as error:
            raise BadInput(f"--space {name}={value} is a value of the wrong kind") from error
        except BadInput as error:
            raise BadInput(f"--space {name}={value}: {error}") from error


def _check_together(one: tuple[str, Domain], other: tuple[str, Domain], base: FitSettings) -> None:
    """Raises BadInput for settings that exclude each other: of a trial with both it would be said when it starts."""
    for first, second in itertools.product(ends(one[1]), ends(other[1])):
        try:
            dataclasses.replace(base, **{one[0]: first, other[0]: second})
        except BadInput as error:
            raise BadInput(f"--space {one[0]}={first} together with {other[0]}={second}: {error}") from error


def _number(value: float, domain: Range) -> float:
    return int(value) if domain.whole else value
