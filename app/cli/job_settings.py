"""What a command knows that the job it submits cannot: the user's folder, the commit, how to go on."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from app.architecture_names import require_architecture
from app.cli.output import Output
from app.settings import DataSettings, PruneSettings, RunSettings, SweepSettings, TrainSettings, default_run_name
from cluster.connection import named_address
from cluster.jobs import git_commit

T = TypeVar("T", bound=RunSettings)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shown:
    """Fields that every job's command adds."""

    json: bool = False
    """Print one JSON object on stdout and nothing else; progress goes to stderr."""


def prepared(settings: T) -> T:
    """With everything a job cannot know by itself: absolute data path, run name, git commit.

    Raises BadInput right away for an unknown architecture, and BadDataset for data that is unusable, where this machine
    is the one that will read it.
    """
    settings = dataclasses.replace(settings, git_commit=git_commit(), command=typed())
    if settings.resume:
        return settings
    require_architecture(settings.model)
    if isinstance(settings, TrainSettings) and settings.init and Path(settings.init).expanduser().is_file():
        settings = dataclasses.replace(settings, init=absolute(settings.init))
    data = absolute(settings.data) or settings.data
    run = settings.run
    if data and named_address() is None:
        from app.datasets import check_source

        found = check_source(data)
        # A pruning is several runs, which the job names after the version.
        run = run or (default_run_name(found.name) if not isinstance(settings, PruneSettings) else None)
    return dataclasses.replace(settings, data=data, run=run)


def typed() -> str:
    """The command line of this process, as a user types it."""
    return shlex.join(["manta", *sys.argv[1:]])


def absolute(data: str | None) -> str | None:
    """A job's working directory is not the user's, so paths travel as absolute ones."""
    if not data or data in DataSettings.BUILT_IN:
        return data
    return str(Path(data).expanduser().absolute())


@contextlib.contextmanager
def resumable(settings: RunSettings, folder: Path, output: Output) -> Iterator[None]:
    """On Ctrl-C says how to go on, when there is something to go on from.

    folder: where runs, or sweeps, of this home lie.
    """
    before = _kept(settings, folder)
    try:
        yield
    except KeyboardInterrupt:
        output.say(f"\n{_interrupted(settings, folder, before)}")
        raise


def _interrupted(settings: RunSettings, folder: Path, before: Mapping[str, int]) -> str:
    """What is kept, and how to go on. before: what was kept when the command began."""
    kept = _kept(settings, folder)
    name = settings.resume or (settings.run if not isinstance(settings, PruneSettings) else None)
    if name is not None:
        mine, unfinished = [], [name] if name in kept else []
    else:  # a name, or several, that the job made up
        newest = sorted((name for name in kept if kept[name] != before.get(name)), key=kept.__getitem__)
        mine = [
            name for name in newest if _record(folder / name).get("settings", {}).get("command") == settings.command
        ]
        unfinished = [name for name in mine if not _is_finished(folder / name)]
    if unfinished:
        verb = "sweep" if isinstance(settings, SweepSettings) else "train"
        return f"interrupted; the finished epochs are kept. Go on with: manta {verb} --resume {unfinished[-1]}"
    if mine:
        return "interrupted; what was registered by then is kept"
    return "interrupted before the first epoch was finished; nothing is kept"


def _kept(settings: RunSettings, folder: Path) -> dict[str, int]:
    """By name, when what a run or sweep goes on from was last written."""
    file = "sweep.json" if isinstance(settings, SweepSettings) else "history.json"
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob(f"*/{file}")}


def _is_finished(folder: Path) -> bool:
    record = _record(folder)
    return bool(record.get("finished") or record.get("version"))


def _record(folder: Path) -> dict[str, Any]:
    """What a run or sweep says of itself; nothing where that cannot be read."""
    for file in (folder / "run.json", folder / "sweep.json"):
        with contextlib.suppress(OSError, ValueError):
            record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            return record
    return {}
