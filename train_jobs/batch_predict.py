"""Classify every image of a folder or zip with a registered version, in parallel, into one file.

ray job submit --working-dir . -- python -m train_jobs.batch_predict digits@champion photos/
"""

from __future__ import annotations

import functools
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import cv2

from app.answers_file import Row, answers_file, check_format
from app.artifact import open_bundle
from app.batch_prediction import FilesClassifier, blocks_of, images_in
from app.config import CPU, JOB_NICENESS, Home
from app.conversion.variants import load_variant
from app.dataset_source import SourceFile, list_source
from app.errors import BadInput, NotFound
from app.options import run_job
from app.registry import ModelVersion, Registry
from app.settings import BatchPredictSettings
from train_jobs.block_stream import through_actors
from train_jobs.cores import tasks_at_once
from train_jobs.job import Stopwatch, connect, finish, say

_SAY_EVERY_S = 5.0


def main(settings: BatchPredictSettings) -> None:
    home = connect().home
    version = Registry(home).resolve(settings.version)
    bundle = open_bundle(version.folder)
    bundle.variant_path(settings.variant)  # raises what is wrong with it before anything is read
    labels = bundle.manifest.labels
    top_k = min(settings.top_k, len(labels))
    out = Path(settings.out).expanduser().absolute() if settings.out else _default_file(home, version)
    check_format(out)
    listing = list_source(Path(settings.images))
    files = images_in(listing.files, str(listing.path))
    say(f"{len(files):,} images for {version.reference} ({settings.variant})")
    watch = Stopwatch()
    out.parent.mkdir(parents=True, exist_ok=True)
    workers = settings.workers or tasks_at_once()
    answers = through_actors(
        blocks_of(files, workers),
        functools.partial(_loaded, version.folder, settings.variant, top_k, listing.path),
        cpus=CPU.predict_actor,
        at_once=workers,
    )
    classes: Counter[str] = Counter()
    failed = 0
    with answers_file(out, top_k) as file:
        for rows in _telling(answers, len(files)):
            file.write(rows)
            classes.update(row["predictions"][0]["class_name"] for row in rows if "predictions" in row)
            failed += sum("error" in row for row in rows)
    seconds = watch.restart()
    if failed:
        say(f"{failed:,} files could not be read: the column `error` of {out} says why")
    if failed == len(files):
        raise BadInput(f"none of the {failed:,} images could be read: {out} says why")
    finish(
        {
            "version": version.reference,
            "variant": settings.variant,
            "images": len(files),
            "failed": failed,
            "out": str(out),
            "classes": {label: classes[label] for label in labels},
            "seconds": round(seconds, 2),
            "images_per_s": round(len(files) / seconds, 1),
        }
    )


def _loaded(folder: Path, variant: str, top_k: int, images: Path) -> Callable[[Sequence[SourceFile]], list[Row]]:
    """In each actor. Raises NotFound where it does not see the bundle or the images, BrokenBundle."""
    if not folder.is_dir():
        raise NotFound(f"this node does not see {folder}: MANTA_HOME has to be shared storage")
    if not images.exists():
        raise NotFound(f"this node does not see {images}: images have to lie on shared storage")
    os.nice(JOB_NICENESS)
    cv2.setNumThreads(1)  # the actors are the parallelism
    bundle = open_bundle(folder)
    size = (bundle.manifest.input.height, bundle.manifest.input.width)
    return FilesClassifier(load_variant(bundle.variant_path(variant)), bundle.manifest.labels, size, top_k)


def _default_file(home: Home, version: ModelVersion) -> Path:
    return home.predictions / f"{version.name}-{version.version}-{datetime.now():%Y%m%d-%H%M%S}.csv"


def _telling(answers: Iterator[list[Row]], total: int) -> Iterator[list[Row]]:
    """The same, with a line of progress now and then."""
    done, told = 0, time.monotonic()
    for rows in answers:
        yield rows
        done += len(rows)
        if time.monotonic() - told > _SAY_EVERY_S:
            told = time.monotonic()
            say(f"{done:,} of {total:,} images")


if __name__ == "__main__":
    run_job(BatchPredictSettings, main)
