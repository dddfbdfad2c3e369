"""Train a version anew on the images there are now, gate it against the one it replaces, and put it on trial beside it.

ray job submit --working-dir . -- python -m train_jobs.retrain photos@champion --data photos.zip --if-drifted
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from app.admin_client import AdminClient
from app.artifact import Bundle, open_bundle, read_manifest
from app.conversion.variants import FP32, load_variant
from app.datasets import Dataset
from app.errors import BadInput, BrokenBundle, ClusterError, MantaError, NotFound
from app.evaluate import predict_in_batches
from app.gates import Gate, require
from app.options import run_job
from app.paired import PairedLoss
from app.registry import ModelVersion, Registry
from app.settings import ConvertSettings, DistillSettings, RetrainSettings, TrainSettings
from app.traffic_file import TrafficFile
from cluster.deployment import service_url
from cluster.environment import read_admin_token
from cluster.serve_client import ServeClient
from train_jobs.convert import convert, require_learned
from train_jobs.data import cached_dataset, dataset_to_train_on, require_fits
from train_jobs.job import Job, connect, finish, say
from train_jobs.runs import Run, open_run
from train_jobs.train import TrainedVersion, result_of, train


def main(settings: RetrainSettings) -> None:
    job = connect()
    registry = Registry(job.home)
    version = registry.resolve(settings.version)
    with service(job) as live:  # first: a wrong token stops the job now and not after the training
        drift = seen_drift(live, version) if settings.if_drifted else []
    bundle = open_bundle(version.folder)
    training = settings_anew(settings, version, run_of(version, registry, job), bundle)
    dataset = dataset_anew(training, bundle, job)
    if settings.if_drifted and (reason := reason_to_wait(drift, live, version, dataset, registry)):
        say(f"nothing is trained: {reason}")
        finish({"replaces": version.reference, "retrained": False, "reason": reason, "drift": drift})
        return
    trained = train(training, job.home)
    require_learned(trained.converted)
    loss = loss_against(version, trained, job)
    require_no_worse(loss, version, settings.max_loss)
    why = settings.why or "; ".join(drift) or "asked for"
    finish(
        {
            **result_of(trained),
            "replaces": version.reference,
            "retrained": True,
            "drift": drift,
            "compared": {"images": loss.images, "former": loss.former, "new": loss.new, "spread": loss.spread},
            **tried(job, version, trained.converted.version, settings, why),
        }
    )


@dataclass(frozen=True, slots=True)
class Live:
    """The service on this cluster. Without `admin` there is none."""

    admin: AdminClient | None = None
    traffic: TrafficFile = field(default_factory=TrafficFile)

    def serves(self, version: ModelVersion) -> bool:
        """Whether this version is its champion."""
        champion = self.traffic.champion
        return champion is not None and (self.traffic.model, champion.version) == (version.name, version.version)

    def on_trial(self, version: ModelVersion) -> str:
        """A challenger of this version, or nothing."""
        challengers = self.traffic.challengers if self.serves(version) else ()
        return f"{version.name}/{challengers[0].version}" if challengers else ""

    def __str__(self) -> str:
        champion = self.traffic.champion
        return f"{self.traffic.model}/{champion.version}" if champion else "none"


@contextlib.contextmanager
def service(job: Job) -> Iterator[Live]:
    """Raises BadInput for a token that is not the service's."""
    with contextlib.closing(ServeClient(job.dashboard_url)) as client:
        state = client.state()
    if state.traffic is None or state.port is None or not state.traffic.versions:
        yield Live()
        return
    token = os.environ.get("MANTA_ADMIN_TOKEN") or read_admin_token(job.home)
    with contextlib.closing(AdminClient(service_url(state.host, state.port), token)) as admin:
        yield Live(admin, TrafficFile.model_validate(admin.get("traffic")["traffic"]))


def seen_drift(live: Live, version: ModelVersion) -> list[str]:
    """What has drifted, a line each. Raises ClusterError where nothing is served, BadInput where another version is."""
    if live.admin is None:
        raise ClusterError("nothing is served, so nothing can drift; put the version live with `manta serve`")
    if not live.serves(version):
        raise BadInput(f"{version.reference} is not the champion of the service: {live} is")
    return list(live.admin.get("drift")["summary"])


def reason_to_wait(
    drift: Sequence[str], live: Live, version: ModelVersion, dataset: Dataset, registry: Registry
) -> str | None:
    """Why a retraining that is asked for every night is not due."""
    if not drift:
        return f"no drift of {version.reference} is known"
    if on_trial := live.on_trial(version):
        return f"{on_trial} is on trial already"
    if known := known_to(version, dataset, registry):
        return f"{known} was trained on these very images: there is nothing new to learn"
    return None


def run_of(version: ModelVersion, registry: Registry, job: Job) -> Run:
    """The run that trained the version, or what it was converted from. Raises NotFound where its folder is gone."""
    ids = {version.run_id}
    parent = version
    while reference := read_manifest(parent.folder).lineage.parent_version:
        parent = registry.resolve(reference)
        ids.add(parent.run_id)
    for file in job.home.runs.glob("*/run.json"):
        with contextlib.suppress(BrokenBundle):  # another run that is damaged
            run = open_run(job.home, file.parent.name)
            if run.tracking_run_id in ids:
                return run
    raise NotFound(
        f"the run that trained {parent.reference} is gone from {job.home.runs}: train with `manta train`, and put the "
        "new version on trial with `manta deploy VERSION --weight 10`"
    )


def settings_anew(settings: RetrainSettings, version: ModelVersion, run: Run, bundle: Bundle) -> TrainSettings:
    """Those of the run, for a run of its own, with what is asked to be otherwise.

    Where the run began with weights of a file that is gone, it begins with the version's.
    """
    height, width = bundle.manifest.input.height, bundle.manifest.input.width
    changed: dict[str, Any] = {
        "data": settings.data or run.settings.data,
        "image_size": height if height == width else None,
        "name": version.name,
        "run": None,
        "resume": None,
        "storage": None,
        "git_commit": settings.git_commit,
        "command": settings.command or shlex.join(sys.orig_argv),
    }
    init = run.settings.init
    if settings.warm_start or (init is not None and Path(init).is_absolute() and not Path(init).is_file()):
        changed["init"] = version.reference
    changed |= {name: value for name in ("epochs", "workers") if (value := getattr(settings, name)) is not None}
    if not changed["data"]:
        raise BadInput(f"the images of {version.reference} have no name of their own: give --data")
    training = dataclasses.replace(run.settings, **changed)
    if training.init:
        say(f"it begins with the weights of {training.init}")
    if isinstance(training, DistillSettings):
        say(f"it learns from {training.teacher}, as {version.reference} did, however old that is")
    return training


def dataset_anew(training: TrainSettings, bundle: Bundle, job: Job) -> Dataset:
    """What there is to train on now. Raises BadInput, before any training, for other classes or another size."""
    dataset = dataset_to_train_on(training, job.home)
    require_fits(dataset, bundle.manifest)
    return dataset


def known_to(version: ModelVersion, dataset: Dataset, registry: Registry) -> str:
    """This version, or a later one of its model, if it was trained on these very images; else nothing."""
    for each in registry.versions(version.name):
        later = int(each.version) >= int(version.version)
        if later and read_manifest(each.folder).lineage.dataset_digest == dataset.digest:
            return each.reference
    return ""


def loss_against(version: ModelVersion, trained: TrainedVersion, job: Job) -> PairedLoss:
    """Of the fp32 graphs, on test images that the former version was not trained on.

    Where images were added since, some that it was trained on are test images now: it would be measured too well.
    """
    test = trained.dataset.test
    former = open_bundle(version.folder)
    fresh = unseen(test.images, cached_dataset(former.manifest.lineage.dataset_digest, job.home))
    if fresh is None:
        say(f"what {version.reference} was trained on is not cached any more: it may know some of the test images")
        fresh = np.arange(len(test.labels))
    elif len(fresh) < len(test.labels):
        say(f"{len(test.labels) - len(fresh):,} test images are left out: {version.reference} was trained on them")
    if len(fresh) == 0:
        raise BadInput(f"{version.reference} was trained on all test images there are now: nothing can be compared")
    images, labels = test.images[fresh], test.labels[fresh]
    right = [
        predict_in_batches(load_variant(bundle.variant_path(FP32)), images).argmax(1) == labels
        for bundle in (former, open_bundle(trained.converted.version.folder))
    ]
    return PairedLoss.of(*right)


def unseen(images: np.ndarray, trained_on: Dataset | None) -> np.ndarray | None:
    """int64 [M]: which of these images, uint8 [N, H, W, 3], are none of the training images; None for no dataset."""
    if trained_on is None:
        return None
    known = {_fingerprint(image) for image in trained_on.train.images}
    return np.array([index for index, image in enumerate(images) if _fingerprint(image) not in known], np.int64)


def _fingerprint(image: np.ndarray) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()


def require_no_worse(loss: PairedLoss, version: ModelVersion, max_loss: float) -> None:
    """Raises GateFailed for what chance does not explain, after which the new version answers nobody."""
    say(f"the new version has {loss}")
    require([Gate(f"loss of test accuracy against {version.reference}, at least", loss.least, max_loss / 100)])


def tried(
    job: Job, replaced: ModelVersion, version: ModelVersion, settings: RetrainSettings, why: str
) -> dict[str, Any]:
    """What came of putting it on trial: it is trained and registered all the same."""
    try:
        with service(job) as live:  # training took its time: what is live may be another version by now
            return put_on_trial(job, live, replaced, version, settings, why)
    except MantaError as error:
        say(f"{version.reference} is registered, and could not be put on trial: {error}")
        return {"deployed": None, "percent": {}, "not_deployed": str(error)}


def put_on_trial(
    job: Job, live: Live, replaced: ModelVersion, version: ModelVersion, settings: RetrainSettings, why: str
) -> dict[str, Any]:
    """Deploys the new version beside the one it replaces, in the same kind of graph; nothing where that is not live.

    Returns what the job's result says of it: `deployed`, and `percent` by version; or `not_deployed`, why not.
    """
    champion = live.traffic.champion
    if live.admin is None or champion is None or not live.serves(replaced):
        reason = f"{replaced.reference} is not the live champion"
        say(f"{version.reference} is registered, and answers nobody yet: {reason}")
        return {"deployed": None, "percent": {}, "not_deployed": reason}
    variant = champion.variant
    if variant != FP32:
        version, variant = in_variant(version, variant, settings, job)
    say(f"deploying {version.reference} at {settings.weight:g} %")
    done = live.admin.change(
        "deploy",
        {
            "version": version.version,
            "bundle_uri": version.bundle_uri,
            "model": version.name,
            "variant": variant,
            "weight": settings.weight,
            "automatic": settings.automatic,
            "who": "retrain",
            "why": why,
        },
    )
    return {"deployed": version.reference, "percent": done["percent"], "not_deployed": None}


def in_variant(version: ModelVersion, variant: str, settings: RetrainSettings, job: Job) -> tuple[ModelVersion, str]:
    """The version with this variant in its bundle; where a gate leaves that out, the version as it is, in fp32."""
    command = settings.command or shlex.join(sys.orig_argv)
    asked = ConvertSettings(source=version.reference, variants=variant, git_commit=settings.git_commit, command=command)
    converted = convert(asked, job.home)
    measured = converted.manifest.variants[variant]
    if measured.status == "ok":
        return converted.version, variant
    say(f"{converted.version.reference} goes on trial in fp32, because {variant} was rejected: {measured.reason}")
    return converted.version, FP32


if __name__ == "__main__":
    run_job(RetrainSettings, main)
