"""Retraining: only when it should be, as the version was trained, gated, and on trial beside what is live."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from app.artifact import Lineage, open_bundle, read_manifest, write_manifest
from app.config import Home
from app.errors import BadInput, ClusterError, GateFailed, NotFound
from app.paired import PairedLoss
from app.registry import ModelVersion, Registry
from app.settings import DistillSettings, RetrainSettings, TrainSettings
from app.traffic_changes import added, replaced
from app.traffic_file import TrafficFile, TrafficVersion
from cluster.local import LocalCluster
from tests.bundles import write_colour_bundle
from tests.cli.manta import manta_json
from tests.pipeline_run import PipelineRun
from train_jobs import retrain as retrain_job
from train_jobs.job import Job
from train_jobs.retrain import Live, run_of, seen_drift, settings_anew
from train_jobs.runs import Run

DRIFT = "brightness: PSI 0.50; above 200 in 60% of images, 10% before"


class FakeAdmin:
    """The admin routes of a service whose champion may have drifted."""

    def __init__(self) -> None:
        self.drift: list[str] = []
        self.failure: Exception | None = None
        self.changes: list[tuple[str, Mapping[str, Any]]] = []

    def get(self, what: str) -> dict[str, Any]:
        assert what == "drift"
        if self.failure is not None:
            raise self.failure
        return {"summary": self.drift}

    def change(self, kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
        if self.failure is not None:
            raise self.failure
        self.changes.append((kind, values))
        return {"percent": {"1": 90.0, values["version"]: values["weight"]}}


class Setting:
    """Version 1 of `colours` was trained by a run, and version 2 is what training anew would register."""

    def __init__(self, home: Home, registry: Registry, folder: Path) -> None:
        self.home, self.registry, self.folder = home, registry, folder
        self.job = Job(home, "http://nowhere")
        self.admin = FakeAdmin()
        self.run = self.trained("first")
        self.version = self.registered("one", self.run)
        self.traffic = self.live(self.version)
        self.accuracy = {"former": 0.9, "new": 0.95}
        self.digest = "new images"

    def trained(self, name: str, settings: TrainSettings | None = None) -> Run:
        settings = settings or TrainSettings(data="photos.zip", model="mobile", epochs=30, run=name)
        run = Run(self.home.runs / name, settings, self.registry.start_run(name, {}), "digest")
        run.save()
        return run

    def registered(self, name: str, run: Run, **lineage: str) -> ModelVersion:
        write_colour_bundle(self.folder / name)
        manifest = dataclasses.replace(read_manifest(self.folder / name), lineage=Lineage(**lineage))
        manifest = write_manifest(self.folder / name, manifest)
        return self.registry.register(run.tracking_run_id, self.folder / name, manifest)

    def loss(self) -> PairedLoss:
        return PairedLoss(10_000, self.accuracy["former"], self.accuracy["new"], spread=0.0)

    def live(self, version: ModelVersion, *, variant: str = "fp32") -> TrafficFile:
        served = TrafficVersion(
            version=version.version, application="classifier-1", bundle_uri=version.bundle_uri, variant=variant
        )
        return replaced(TrafficFile(), version.name, served)


@pytest.fixture
def setting(home: Home, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setting:
    """Training takes no time here, and its accuracies are what the test says."""
    setting = Setting(home, registry, tmp_path)

    @contextlib.contextmanager
    def service(_job: Job) -> Iterator[Live]:
        yield Live(setting.admin, setting.traffic)  # type: ignore[arg-type]

    def train(settings: TrainSettings, _home: Home) -> Any:
        assert settings.name == "colours"
        version = setting.registered("two", setting.trained("second"))
        converted = SimpleNamespace(
            version=version,
            onnx_accuracy=setting.accuracy["new"],
            baseline_accuracy=0.5,
            learned_nothing=lambda: "it is no better than chance",
        )
        return SimpleNamespace(converted=converted)

    monkeypatch.setattr(retrain_job, "connect", lambda: setting.job)
    monkeypatch.setattr(retrain_job, "service", service)
    monkeypatch.setattr(retrain_job, "train", train)
    monkeypatch.setattr(retrain_job, "dataset_anew", lambda *_args: SimpleNamespace(digest=setting.digest))
    monkeypatch.setattr(retrain_job, "loss_against", lambda *_args: setting.loss())
    monkeypatch.setattr(retrain_job, "result_of", lambda trained: {"version": trained.converted.version.reference})
    return setting


@pytest.fixture
def result(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the job says in the end."""
    said: dict[str, Any] = {}
    monkeypatch.setattr(retrain_job, "finish", said.update)
    return said


def test_the_new_version_goes_on_trial_beside_the_one_it_replaces(setting: Setting, result: dict[str, Any]) -> None:
    setting.admin.drift = [DRIFT]
    retrain_job.main(RetrainSettings(version="colours/1", if_drifted=True, automatic=True, weight=20))
    ((kind, values),) = setting.admin.changes
    assert kind == "deploy"
    wanted = {"version": "2", "weight": 20, "automatic": True, "variant": "fp32", "who": "retrain", "why": DRIFT}
    assert {name: values[name] for name in wanted} == wanted
    assert result["retrained"]
    assert (result["replaces"], result["deployed"], result["drift"]) == ("colours/1", "colours/2", [DRIFT])


def test_every_night_without_drift_nothing_is_trained(setting: Setting, result: dict[str, Any]) -> None:
    retrain_job.main(RetrainSettings(version="colours/1", if_drifted=True))
    assert (result["retrained"], result["reason"]) == (False, "no drift of colours/1 is known")
    assert len(setting.registry.versions("colours")) == 1


def test_every_night_a_trial_is_left_alone(setting: Setting, result: dict[str, Any]) -> None:
    """Another challenger would begin another test, and none would ever end."""
    setting.admin.drift = [DRIFT]
    challenger = TrafficVersion(version="7", application="classifier-7", bundle_uri="/7")
    setting.traffic = added(setting.traffic, challenger, 10)
    retrain_job.main(RetrainSettings(version="colours/1", if_drifted=True))
    assert (result["retrained"], result["reason"]) == (False, "colours/7 is on trial already")
    retrain_job.main(RetrainSettings(version="colours/1"))
    assert result["deployed"] == "colours/2", "who asks for it gets it"


def test_every_night_the_same_images_are_trained_on_once(setting: Setting, result: dict[str, Any]) -> None:
    setting.admin.drift = [DRIFT]
    setting.digest = "seen"
    setting.registered("again", setting.trained("again"), dataset_digest="seen")
    retrain_job.main(RetrainSettings(version="colours/1", if_drifted=True))
    assert not result["retrained"]
    assert result["reason"] == "colours/2 was trained on these very images: there is nothing new to learn"


def test_what_cannot_be_deployed_is_registered_all_the_same(setting: Setting, result: dict[str, Any]) -> None:
    setting.admin.failure = ClusterError("no room")
    retrain_job.main(RetrainSettings(version="colours/1"))
    assert (result["version"], result["deployed"], result["not_deployed"]) == ("colours/2", None, "no room")


def test_a_worse_model_answers_nobody(setting: Setting) -> None:
    setting.accuracy["new"] = 0.893
    with pytest.raises(GateFailed, match=r"loss of test accuracy against colours/1, at least 0\.007 \(limit 0\.005\)"):
        retrain_job.main(RetrainSettings(version="colours/1"))
    assert setting.admin.changes == []
    retrain_job.main(RetrainSettings(version="colours/1", max_loss=0.7))
    assert len(setting.admin.changes) == 1


def test_a_model_that_learned_nothing_answers_nobody(setting: Setting) -> None:
    setting.accuracy = {"former": 0.4, "new": 0.5}
    with pytest.raises(GateFailed, match="colours/2 is not promoted: it is no better than chance"):
        retrain_job.main(RetrainSettings(version="colours/1"))
    assert setting.admin.changes == []


def test_a_version_that_is_not_live_is_only_registered(setting: Setting, result: dict[str, Any]) -> None:
    setting.traffic = setting.live(setting.registered("other", setting.trained("other")))
    retrain_job.main(RetrainSettings(version="colours/1"))
    assert (result["version"], result["deployed"]) == ("colours/3", None)
    assert setting.admin.changes == []


def test_what_is_served_in_int8_goes_on_trial_in_int8(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    setting.traffic = setting.live(setting.version, variant="int8")
    status = {"int8": SimpleNamespace(status="ok", reason="")}

    def convert(settings: Any, _home: Home) -> Any:
        assert (settings.source, settings.variants) == ("colours/2", "int8")
        version = setting.registered("three", setting.run)
        return SimpleNamespace(version=version, manifest=SimpleNamespace(variants=status))

    monkeypatch.setattr(retrain_job, "convert", convert)
    retrain_job.main(RetrainSettings(version="colours/1"))
    (_, values) = setting.admin.changes[-1]
    assert (values["version"], values["variant"]) == ("3", "int8")


def test_int8_that_fails_its_gates_goes_on_trial_as_it_was_trained(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting.traffic = setting.live(setting.version, variant="int8")
    rejected = {"int8": SimpleNamespace(status="rejected", reason="not faster than fp32")}
    converted = SimpleNamespace(version=setting.version, manifest=SimpleNamespace(variants=rejected))
    monkeypatch.setattr(retrain_job, "convert", lambda *_args: converted)
    retrain_job.main(RetrainSettings(version="colours/1"))
    assert setting.admin.changes[-1][1]["variant"] == "fp32"


def test_drift_is_asked_of_the_live_champion_alone(setting: Setting) -> None:
    with pytest.raises(ClusterError, match="nothing is served"):
        seen_drift(Live(), setting.version)
    other = setting.registered("other", setting.run)
    with pytest.raises(BadInput, match="colours/2 is not the champion of the service: colours/1 is"):
        seen_drift(Live(setting.admin, setting.traffic), other)  # type: ignore[arg-type]


def test_the_run_of_a_converted_version_is_that_of_what_it_was_made_of(setting: Setting) -> None:
    setting.trained("unrelated")
    (setting.home.runs / "damaged").mkdir()
    (setting.home.runs / "damaged" / "run.json").write_text("{")
    conversion = Run(Path(), setting.run.settings, setting.registry.start_run("convert", {}))
    converted = setting.registered("two", conversion, parent_version="colours/1")
    again = setting.registered("three", conversion, parent_version=converted.reference)
    assert run_of(again, setting.registry, setting.job) == setting.run


def test_a_run_that_is_gone(setting: Setting) -> None:
    (setting.run.folder / "run.json").unlink()
    with pytest.raises(NotFound, match="the run that trained colours/1 is gone"):
        run_of(setting.version, setting.registry, setting.job)


def anew(setting: Setting, run: Run, **settings: Any) -> TrainSettings:
    asked = RetrainSettings(version="colours/1", **settings)
    return settings_anew(asked, setting.version, run, open_bundle(setting.version.folder))


def test_it_is_trained_as_the_version_was(setting: Setting) -> None:
    training = anew(setting, setting.run)
    assert (training.model, training.epochs, training.data) == ("mobile", 30, "photos.zip")
    assert (training.name, training.run, training.init, training.image_size) == ("colours", None, None, 8)
    training = anew(setting, setting.run, data="new.zip", epochs=3, workers="1", warm_start=True)
    assert (training.epochs, training.workers, training.data, training.init) == (3, "1", "new.zip", "colours/1")


def test_what_began_with_weights_that_are_gone_begins_with_the_versions(setting: Setting) -> None:
    pruned = setting.trained("pruned", DistillSettings(teacher="colours/1", init="/gone/pruned.pt", data="photos.zip"))
    training = anew(setting, pruned)
    assert isinstance(training, DistillSettings)
    assert (training.init, training.teacher) == ("colours/1", "colours/1")
    fine_tuned = setting.trained("fine-tuned", TrainSettings(init="animals/3", data="photos.zip"))
    assert anew(setting, fine_tuned).init == "animals/3", "as it was trained"


def test_images_without_a_name_have_to_be_named(setting: Setting) -> None:
    distilled = setting.trained("distilled", DistillSettings(teacher="colours/1"))
    with pytest.raises(BadInput, match="give --data"):
        anew(setting, distilled)


def test_test_images_that_the_former_version_was_trained_on_say_nothing_of_it(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has red and green of its training images right, whatever they are; of fresh ones it has green wrong."""
    monkeypatch.undo()
    images = np.zeros((4, 8, 8, 3), np.uint8)
    images[[0, 1, 2, 3], ..., [0, 1, 1, 2]] = np.array([200, 200, 100, 100], np.uint8)[:, np.newaxis, np.newaxis]
    labels = np.array([0, 1, 0, 2])
    test = SimpleNamespace(images=images, labels=labels)
    trained = SimpleNamespace(dataset=SimpleNamespace(test=test), converted=SimpleNamespace(version=setting.version))
    former = SimpleNamespace(train=SimpleNamespace(images=images[:2]))
    monkeypatch.setattr(retrain_job, "cached_dataset", lambda *_args: former)
    loss = retrain_job.loss_against(setting.version, trained, setting.job)  # type: ignore[arg-type]
    assert (loss.images, loss.former, loss.new, loss.spread) == (2, 0.5, 0.5, 0)
    monkeypatch.setattr(retrain_job, "cached_dataset", lambda *_args: None)
    assert retrain_job.loss_against(setting.version, trained, setting.job).images == 4  # type: ignore[arg-type]
    former.train.images = images
    monkeypatch.setattr(retrain_job, "cached_dataset", lambda *_args: former)
    with pytest.raises(BadInput, match="trained on all test images there are now"):
        retrain_job.loss_against(setting.version, trained, setting.job)  # type: ignore[arg-type]


@pytest.mark.minutes
def test_the_loop_on_a_cluster(cluster: LocalCluster, pipeline_run: PipelineRun) -> None:
    home, version = pipeline_run.home, pipeline_run.result["version"]
    manta_json(home, "serve", version)
    refused = manta_json(home, "retrain", version, "--if-drifted")
    assert not refused["retrained"]
    result = manta_json(home, "retrain", version, "--epochs", 3, "--max-loss", 20, "--weight", 25, "--automatic")
    assert result["deployed"] == result["version"]
    number = result["version"].partition("/")[2]
    traffic = manta_json(home, "traffic")
    assert traffic["percent"][number] == 25
    assert {each["version"]: each["automatic"] for each in traffic["traffic"]["versions"]}[number]
    assert manta_json(home, "undeploy", number)["percent"] == {version.partition("/")[2]: 100}
