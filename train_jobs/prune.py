"""Prune a version in steps, each fine-tuned on the whole one's answers and registered as a version of its own.

ray job submit --working-dir . -- python -m train_jobs.prune photos@champion --remove 0.5
"""

from __future__ import annotations

import dataclasses
from dataclasses import asdict
from pathlib import Path

from app.artifact import CHECKPOINT_FILE, open_bundle
from app.config import Home
from app.errors import BadInput
from app.options import run_job
from app.prune import Pruned, prune_checkpoint
from app.registry import ModelVersion, Registry
from app.settings import DistillSettings, PruneSettings, TrainSettings
from train_jobs.job import connect, finish, say
from train_jobs.runs import new_run_name
from train_jobs.train import TrainedVersion, result_of, train


def main(settings: PruneSettings) -> None:
    home = connect().home
    steps = list(prune(settings, home))
    trained, _ = steps[-1]
    finish(
        {
            **result_of(trained),
            "source": settings.version,
            "steps": [
                {
                    "version": each.converted.version.reference,
                    **asdict(pruned),
                    "test_accuracy": each.converted.onnx_accuracy,
                    "variants": each.converted.variants(),
                }
                for each, pruned in steps
            ],
        }
    )


def prune(settings: PruneSettings, home: Home) -> list[tuple[TrainedVersion, Pruned]]:
    """The version that each step registered, and what was left of the network."""
    registry = Registry(home)
    source = registry.resolve(settings.version)
    bundle = open_bundle(source.folder)
    base = new_run_name(settings, f"{source.name}-pruned")
    for run in (f"{base}-{step}" for step in range(1, settings.steps + 1)):
        if (home.runs / run).exists():  # it begins with a file that this would write anew
            raise BadInput(f"run {run} exists already: go on with manta train --resume {run}, or choose another --run")
    share = 1 - (1 - settings.remove) ** (1 / settings.steps) if not settings.weights else settings.remove
    checkpoint, done = bundle.folder / CHECKPOINT_FILE, []
    for step in range(1, settings.steps + 1):
        # Zeros stay zero, so that unstructured steps ask for ever more; removed channels are gone.
        now = share * step / settings.steps if settings.weights else share
        start = home.pruned / f"{base}-{step}.pt"
        pruned = prune_checkpoint(checkpoint, start, share=now, weights=settings.weights)
        zeros = f", {pruned.zeros:,} of them zero" if settings.weights else ""
        say(f"step {step} of {settings.steps}: {pruned.parameters_before:,} -> {pruned.parameters:,} parameters{zeros}")
        trained = train(_fine_tuning(settings, source, bundle.manifest.architecture, f"{base}-{step}", start), home)
        done.append((trained, pruned))
        checkpoint = trained.run.best_checkpoint
    return done


def _fine_tuning(
    settings: PruneSettings, source: ModelVersion, architecture: str, run: str, start: Path
) -> DistillSettings:
    values = {
        **{field.name: getattr(settings, field.name) for field in dataclasses.fields(TrainSettings)},
        "model": architecture,
        "name": settings.name or source.name,
        "run": run,
        "init": str(start),
        "teacher": source.reference,
    }
    return DistillSettings(**values, temperature=settings.temperature, alpha=settings.alpha)


if __name__ == "__main__":
    run_job(PruneSettings, main)
