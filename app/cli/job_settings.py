"""What a command knows that the job it submits cannot: the user's folder, the commit, how to go on."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from app.cli.output import Output
from app.settings import DataSettings, RunSettings, SweepSettings, TrainSettings, default_run_name
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

    Raises BadDataset right away for data that is unusable, where this machine is the one that will read it.
    """
    settings = dataclasses.replace(settings, git_commit=git_commit(), command=typed())
    if settings.resume:
        return settings
    if isinstance(settings, TrainSettings) and settings.init and Path(settings.init).expanduser().is_file():
        settings = dataclasses.replace(settings, init=absolute(settings.init))
    data = absolute(settings.data) or settings.data
    run = settings.run
    if named_address() is None:
        from app.datasets import check_source

        run = run or default_run_name(check_source(data).name)
    return dataclasses.replace(settings, data=data, run=run)


def typed() -> str:
    """The command line of this process, as a user types it."""
    return shlex.join(["manta", *sys.argv[1:]])


def absolute(data: str | None) -> str | None:
    """A job's working directory is not the user's, so paths travel as absolute ones."""
    if data is None or data in DataSettings.BUILT_IN:
        return data
    return str(Path(data).expanduser().absolute())


@contextlib.contextmanager
def resumable(settings: RunSettings, folder: Path, output: Output) -> Iterator[None]:
    """On Ctrl-C says how to go on, when there is something to go on from.

    folder: where runs, or sweeps, of this home lie.
    """
    try:
        yield
    except KeyboardInterrupt:
        name = settings.resume or settings.run
        verb, kept = ("sweep", "sweep.json") if isinstance(settings, SweepSettings) else ("train", "history.json")
        if name and (folder / name / kept).is_file():
            output.say(f"\ninterrupted; the finished epochs are kept. Go on with: manta {verb} --resume {name}")
        else:
            output.say("\ninterrupted before the first epoch was finished; nothing is kept")
        raise
