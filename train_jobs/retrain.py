"""Train a version anew on the images there are now, gate it against the one it replaces, and put it on trial beside it.

ray job submit --working-dir . -- python -m train_jobs.retrain photos@champion --data photos.zip --if-drifted
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
import sys
from collections.abc import Iterator
from typing import Any

from app.admin_client import AdminClient
from app.artifact import Bundle, open_bundle
from app.conversion.variants import FP32, load_variant
from app.datasets import Dataset
from app.errors import BadInput, BrokenBundle, ClusterError, NotFound
from app.evaluate import accuracy, predict_in_batches
from app.gates import Gate, require
from app.options import run_job
from app.registry import ModelVersion, Registry
from app.settings import ConvertSettings, RetrainSettings, TrainSettings
from app.traffic_file import TrafficFile
from cluster.deployment import service_url
from cluster.environment import read_admin_token
from cluster.serve_client import ServeClient
from train_jobs.convert import convert, require_learned
from train_jobs.data import dataset_for
from train_jobs.job import Job, Stopwatch, connect, finish, say
from train_jobs.runs import Run, open_run
from train_jobs.train import result_of, train


def main(settings: RetrainSettings) -> None:
    job = connect()
    total = Stopwatch()
    registry = Registry(job.home)
    version = registry.resolve(settings.version)
    with service(job) as (admin, traffic):
        drift = seen_drift(admin, traffic, version) if settings.if_drifted else []
    if settings.if_drifted and not drift:
        say(f"{version.reference} sees such images as it was measured on: nothing is trained")
        finish({"replaces": version.reference, "retrained": False, "drift": drift})
        return
    why = settings.why or "; ".join(drift) or "asked for"
    bundle = open_bundle(version.folder)
    run = run_of(version, registry, job)
    training = settings_anew(settings, version, run, bundle)
    dataset = dataset_for(bundle.manifest, training.data, job.home)  # before any training: classes and size must fit
    trained = train(training, job.home)
    require_learned(trained.converted)
    former = accuracy_of(bundle, dataset)
    require_no_worse(trained.converted.onnx_accuracy, former, version, settings.max_loss)
    result = result_of(trained)
    # Training took its time: what is live may be another version by now.
    with service(job) as (admin, traffic):
        deployed = put_on_trial(job, admin, traffic, version, trained.converted.version, settings, why)
    finish(
        {
            **result,
            **deployed,
            "replaces": version.reference,
            "retrained": True,
            "drift": drift,
            "former_accuracy": former,
            "total_seconds": round(total.restart(), 2),
        }
    )


@contextlib.contextmanager
def service(job: Job) -> Iterator[tuple[AdminClient | None, TrafficFile]]:
    """The service on this cluster, and its traffic file; None and an empty one where nothing is served."""
    with contextlib.closing(ServeClient(job.dashboard_url)) as client:
        state = client.state()
    if state.traffic is None or state.port is None:
        yield None, TrafficFile()
        return
    token = os.environ.get("MANTA_ADMIN_TOKEN") or read_admin_token(job.home)
    with contextlib.closing(AdminClient(service_url(state.host, state.port), token)) as admin:
        yield admin, state.traffic


def seen_drift(admin: AdminClient | None, traffic: TrafficFile, version: ModelVersion) -> list[str]:
    """What has drifted, a line each. Raises ClusterError where nothing is served, BadInput where another version is."""
    if admin is None:
        raise ClusterError("nothing is served, so nothing can drift; put the version live with `manta serve`")
    if not is_champion(version, traffic):
        raise BadInput(f"{version.reference} is not the champion of the service: {described(traffic)} is")
    return list(admin.get("drift")["summary"])


def run_of(version: ModelVersion, registry: Registry, job: Job) -> Run:
    """The run that trained the version, or what it was converted from. Raises NotFound where its folder is gone."""
    ids = {version.run_id}
    parent = version
    while reference := open_bundle(parent.folder).manifest.lineage.parent_version:
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

    What the run began with weights for (a pruned network, say) begins with the version's.
    """
    height, width = bundle.manifest.input.height, bundle.manifest.input.width
    changed: dict[str, Any] = {
        "data": settings.data or run.settings.data,
        "image_size": height if height == width else None,
        "init": version.reference if settings.warm_start or run.settings.init else None,
        "name": version.name,
        "run": None,
        "resume": None,
        "storage": None,
        "git_commit": settings.git_commit,
        "command": settings.command or shlex.join(sys.orig_argv),
    }
    changed |= {name: value for name in ("epochs", "workers") if (value := getattr(settings, name)) is not None}
    if not changed["data"]:
        raise BadInput(f"the images of {version.reference} have no name of their own: give --data")
    return dataclasses.replace(run.settings, **changed)


def accuracy_of(bundle: Bundle, dataset: Dataset) -> float:
    """Of the fp32 graph, on the test split."""
    predict = load_variant(bundle.variant_path(FP32))
    return accuracy(predict_in_batches(predict, dataset.test.images), dataset.test.labels)


def require_no_worse(measured: float, former: float, version: ModelVersion, max_loss: float) -> None:
    """Raises GateFailed, after which the new version stays registered and answers nobody."""
    say(f"test accuracy {measured:.2%}; {version.reference} has {former:.2%} on the same images")
    require([Gate(f"loss of test accuracy against {version.reference}", former - measured, max_loss / 100)])


def put_on_trial(
    job: Job,
    admin: AdminClient | None,
    traffic: TrafficFile,
    replaced: ModelVersion,
    version: ModelVersion,
    settings: RetrainSettings,
    why: str,
) -> dict[str, Any]:
    """Deploys the new version beside the one it replaces, in the same kind of graph; nothing where that is not live.

    Returns what the job's result says of it: `deployed`, and `percent` by version.
    """
    if admin is None or not is_champion(replaced, traffic) or traffic.champion is None:
        say(f"{replaced.reference} is not the live champion: {version.reference} is registered, and answers nobody yet")
        return {"deployed": None, "percent": {}}
    variant = traffic.champion.variant
    if variant != FP32:
        version, variant = in_variant(version, variant, settings, job)
    say(f"deploying {version.reference} at {settings.weight:g} %")
    done = admin.change(
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
    return {"deployed": version.reference, "percent": done["percent"]}


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


def is_champion(version: ModelVersion, traffic: TrafficFile) -> bool:
    champion = traffic.champion
    return champion is not None and (traffic.model, champion.version) == (version.name, version.version)


def described(traffic: TrafficFile) -> str:
    return f"{traffic.model}/{traffic.champion.version}" if traffic.champion else "none"


if __name__ == "__main__":
    run_job(RetrainSettings, main)
