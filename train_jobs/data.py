"""The dataset a job works on: prepared once on the cluster, or found again from a model's lineage."""

from __future__ import annotations

import contextlib

from app.artifact import Manifest
from app.config import Home
from app.dataset_cache import SKIPPED_FILE
from app.datasets import Dataset, load, prepare
from app.errors import BadDataset, BadInput, NotFound
from app.settings import DataSettings
from train_jobs.ingest import ray_decoder
from train_jobs.job import say


def prepare_on_cluster(settings: DataSettings, home: Home) -> Dataset:
    """Decodes with Ray Data unless the cache has it, and says what came out. Raises BadDataset."""
    dataset = prepare(
        settings.data,
        cache=home.datasets,
        image_size=settings.image_size,
        max_bad=settings.max_bad_share,
        decoder=ray_decoder(),
        progress=say,
    )
    describe(dataset)
    return dataset


def dataset_to_train_on(settings: DataSettings, home: Home, *, digest: str = "") -> Dataset:
    """digest: of what the run or sweep began with, where it goes on: another split would show it its own test images.

    Raises BadInput when the data are others by now and what they were is no longer cached, and BadDataset; NotFound
    when they have no name, as a teacher's own, and are no longer cached.
    """
    if digest and (cached := cached_dataset(digest, home)):
        describe(cached)
        return cached
    if not settings.data:
        raise NotFound("the data that the teacher was trained on is not cached any more: train anew, with --data")
    dataset = prepare_on_cluster(settings, home)
    if digest and dataset.digest != digest:
        raise BadInput(f"the images of {settings.data} are not those of the beginning any more: train anew")
    return dataset


def describe(dataset: Dataset) -> None:
    """Says what is in it."""
    height, width = dataset.input_size
    counts = f"{len(dataset.train.labels):,} train, {len(dataset.val.labels):,} val, {len(dataset.test.labels):,} test"
    say(f"{dataset.name}: {counts} images of {len(dataset.labels)} classes at {width}x{height}")
    if dataset.skipped:
        first = dataset.skipped[0]
        say(
            f"left out {len(dataset.skipped):,} unreadable, as {first.path} ({first.reason}); all are in "
            f"{dataset.folder / SKIPPED_FILE}"
        )


def dataset_of(manifest: Manifest, home: Home) -> Dataset:
    """The very dataset a model was trained on, by its digest. Raises NotFound when it is no longer cached."""
    if dataset := cached_dataset(manifest.lineage.dataset_digest, home):
        return dataset
    raise NotFound(
        f"the data that {manifest.name} was trained on ({manifest.lineage.dataset}) is not cached any more; pass --data"
    )


def cached_dataset(digest: str, home: Home) -> Dataset | None:
    for path in sorted(home.datasets.glob("[!.]*/dataset.json")):
        with contextlib.suppress(BadDataset):  # another dataset that is damaged
            dataset = load(path.parent)
            if dataset.digest == digest:
                return dataset
    return None


def dataset_for(manifest: Manifest, data: str | None, home: Home) -> Dataset:
    """`data` at the model's input size, or what it was trained on. Raises BadInput when the classes differ.

    The images it was trained on come out in the splits they were in then: it is never tested on them.
    """
    if data is None:
        return dataset_of(manifest, home)
    height, width = manifest.input.height, manifest.input.width
    size = height if height == width else None
    dataset = prepare_on_cluster(DataSettings(data=data, image_size=size), home)
    require_fits(dataset, manifest)
    return dataset


def require_fits(dataset: Dataset, manifest: Manifest) -> None:
    """Raises BadInput for other classes, or images of another size, than the model's."""
    height, width = manifest.input.height, manifest.input.width
    if dataset.labels != manifest.labels:
        raise BadInput(f"the classes of {dataset.name} are not those of {manifest.name}")
    if dataset.input_size != (height, width):
        raise BadInput(f"images of {dataset.name} are not {width}x{height}, which {manifest.name} takes")
