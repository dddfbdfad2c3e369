"""Conversion as a job: from a run, killed in mid-write, on a full disk."""

from __future__ import annotations

import errno
import threading
from pathlib import Path

import pytest

from app.artifact import MODEL_FILE, Manifest, open_bundle, write_manifest
from app.config import Home
from app.conversion import bundling
from app.datasets import prepare
from app.errors import BadInput
from app.gates import require
from app.registry import Registry
from app.settings import ConvertSettings
from cluster.jobs import JobOutcome, run_job
from cluster.local import LocalCluster
from tests.app.image_trees import entries, png, write_tree
from tests.pipeline_run import PipelineRun
from tests.train_jobs.running import drivers, tracking_runs
from tests.waiting import wait_for
from train_jobs import convert as convert_job
from train_jobs.convert import convert
from train_jobs.data import dataset_for
from train_jobs.verify import verify


def versions(home: Home) -> list[str]:
    return [version.reference for version in Registry(home).versions()]


def unfinished(home: Home) -> list[Path]:
    """Bundles that are being written."""
    return list(home.bundles.iterdir()) if home.bundles.exists() else []


def test_a_conversion_killed_in_mid_write_leaves_no_version(pipeline_run: PipelineRun, cluster: LocalCluster) -> None:
    """Its unfinished folder goes with the next conversion, here one of a training run."""
    home, before = pipeline_run.home, versions(pipeline_run.home)
    argv = ["--variants", "int8", "--name", "half", pipeline_run.result["version"]]
    outcomes: list[JobOutcome] = []
    job = threading.Thread(
        target=lambda: outcomes.append(
            run_job(cluster.dashboard_url, "train_jobs.convert", argv, home=home, on_line=lambda _: None)
        )
    )
    job.start()
    wait_for(lambda: any((folder / MODEL_FILE).exists() for folder in unfinished(home)), seconds=150)
    (driver,) = drivers(cluster, "half", job="train_jobs.convert")
    driver.kill()
    job.join(60)
    assert outcomes[0].status == "FAILED"
    assert versions(home) == before
    assert len(unfinished(home)) == 1

    converted = convert(ConvertSettings(source="pipeline-digits", name="from-run", variants="fp32"), home)
    assert converted.onnx_accuracy == pipeline_run.result["test_accuracy"]["onnx"]
    assert sorted(versions(home)) == sorted([*before, "from-run/1"])
    assert unfinished(home) == []


def test_a_full_disk_leaves_no_version(
    pipeline_run: PipelineRun, ray_driver: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variant is built and measured when the disk is full."""
    home, before = pipeline_run.home, versions(pipeline_run.home)

    def full(folder: Path, manifest: Manifest) -> Manifest:
        if "fp16" in manifest.variants:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_manifest(folder, manifest)

    monkeypatch.setattr(bundling, "write_manifest", full)
    settings = ConvertSettings(source=pipeline_run.result["version"], name="full", variants="fp16")
    with pytest.raises(OSError, match="No space left on device"):
        convert(settings, home)
    assert versions(home) == before
    assert entries(home.bundles) == []
    newest, *_ = tracking_runs(home, f"convert {pipeline_run.result['version']}")
    assert newest == "FAILED"


def test_what_fails_beside_the_graph_leaves_no_version(
    pipeline_run: PipelineRun, ray_driver: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trying again would make a second version of the same weights."""
    home, before = pipeline_run.home, versions(pipeline_run.home)

    def full(*_: object) -> list[Path]:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(convert_job, "write_evaluation_report", full)
    with pytest.raises(OSError, match="No space left on device"):
        convert(ConvertSettings(source="pipeline-digits", name="unreported", variants="fp32"), home)
    assert versions(home) == before
    assert entries(home.bundles) == []


def test_a_run_is_converted_on_its_own_data(pipeline_run: PipelineRun, ray_driver: LocalCluster) -> None:
    with pytest.raises(BadInput, match="--data is for versions"):
        convert(ConvertSettings(source="pipeline-digits", data="digits"), pipeline_run.home)


@pytest.mark.filterwarnings("ignore:`use_.*` is deprecated:DeprecationWarning")  # Ray Data's own
def test_other_data_are_named_as_what_the_figures_are_of(
    pipeline_run: PipelineRun, ray_driver: LocalCluster, tmp_path: Path
) -> None:
    """Or verifying it on what it was trained on would find that its accuracy had changed."""
    home = pipeline_run.home
    trained_on = prepare("digits", cache=home.datasets)
    grey = {f"{label}/{number}.png": png(number) for label in trained_on.labels for number in range(10)}
    settings = ConvertSettings(
        source=pipeline_run.result["version"],
        data=str(write_tree(tmp_path / "grey", grey)),
        name="elsewhere",
        variants="fp32",
    )
    converted = convert(settings, home)
    lineage = converted.manifest.lineage
    assert lineage.dataset_digest == trained_on.digest
    assert lineage.measured_digest not in ("", trained_on.digest)

    bundle = open_bundle(converted.version.folder)
    measured_on = dataset_for(bundle.manifest, settings.data, home)
    assert measured_on.digest == lineage.measured_digest
    gates = {dataset.digest: verify(bundle, dataset)[0].gates for dataset in (trained_on, measured_on)}
    require([gate for each in gates.values() for gate in each])
    assert len(gates[measured_on.digest]) == len(gates[trained_on.digest]) + 1, (
        "and the accuracy, where it was measured"
    )
