"""What the pipeline job promises, checked on what it left behind and on the live endpoint."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from app.artifact import local_folder, open_bundle
from app.datasets import prepare
from app.evaluate import accuracy, predict_in_batches
from app.inference import OnnxClassifier
from app.promotions import read_promotions
from app.registry import CHAMPION, Registry
from tests.pipeline_run import PipelineRun


def test_accuracy_is_the_same_in_pytorch_onnx_and_over_http(pipeline_run: PipelineRun) -> None:
    measured = pipeline_run.result["test_accuracy"]
    assert measured["pytorch"] == measured["onnx"] == measured["http"]
    assert measured["http"] > 0.5, "six epochs of digits learn more than this"


def test_the_bundle_in_the_registry_gives_the_measured_accuracy(pipeline_run: PipelineRun) -> None:
    bundle = open_bundle(Registry(pipeline_run.home).resolve(pipeline_run.result["version"]).folder)
    test = prepare("digits", cache=pipeline_run.home.datasets).test
    probabilities = predict_in_batches(OnnxClassifier.from_bundle(bundle).predict, test.images)
    assert accuracy(probabilities, test.labels) == pipeline_run.result["test_accuracy"]["onnx"]
    assert bundle.manifest.variants["fp32"].accuracy == pipeline_run.result["test_accuracy"]["onnx"]


def test_lineage_leads_back_to_data_commit_and_run(pipeline_run: PipelineRun) -> None:
    version = Registry(pipeline_run.home).resolve(pipeline_run.result["version"])
    lineage = open_bundle(version.folder).manifest.lineage
    dataset = prepare("digits", cache=pipeline_run.home.datasets)
    assert (lineage.dataset, lineage.dataset_digest, lineage.git_commit) == ("digits", dataset.digest, "abc123")
    assert lineage.run_id == version.run_id


def test_the_new_version_is_champion_and_the_log_says_why(pipeline_run: PipelineRun) -> None:
    version = Registry(pipeline_run.home).resolve(f"digits@{CHAMPION}")
    assert version.reference == pipeline_run.result["version"]
    promotion = [each for each in read_promotions(pipeline_run.home.promotion_log) if each.model == "digits"][-1]
    assert (promotion.alias, promotion.after, promotion.who) == (CHAMPION, version.version, "pipeline")
    assert "pipeline-digits" in promotion.why


def test_every_answer_over_http_is_the_onnx_files_own(pipeline_run: PipelineRun) -> None:
    bundle = open_bundle(local_folder(pipeline_run.result["artifacts"]))
    test = prepare("digits", cache=pipeline_run.home.datasets).test
    expected = predict_in_batches(OnnxClassifier.from_bundle(bundle).predict, test.images).argmax(1)
    np.testing.assert_array_equal(pipeline_run.asked_again.answers, expected)
    assert pipeline_run.asked_again.versions == {pipeline_run.result["version"].partition("/")[2]}


def test_mlflow_holds_one_run_with_every_epoch_and_the_curves(pipeline_run: PipelineRun) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(pipeline_run.result["tracking_uri"])
    experiment = client.get_experiment_by_name("manta")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "attributes.run_name = 'pipeline-digits'")
    assert [run.info.status for run in runs] == ["FINISHED"]
    steps = [metric.step for metric in client.get_metric_history(runs[0].info.run_id, "val_accuracy")]
    assert steps == [1, 2, 3, 4, 5, 6]
    names = {artifact.path for artifact in client.list_artifacts(runs[0].info.run_id)}
    assert "curves.png" in names
    assert Path(pipeline_run.result["artifacts"]).name in names


def test_the_best_epoch_by_validation_accuracy_was_exported(pipeline_run: PipelineRun) -> None:
    run = pipeline_run.home.runs / "pipeline-digits"
    history = json.loads((run / "history.json").read_text())
    best = max(history, key=lambda epoch: (epoch["val_accuracy"], -epoch["val_loss"]))
    assert f"best epoch {best['epoch']}:" in "\n".join(pipeline_run.lines)


def test_progress_is_told_all_along(pipeline_run: PipelineRun) -> None:
    text = "\n".join(pipeline_run.lines)
    for told in ("digits:", "starting 2 training workers", "epoch   6/6", "registered digits/", "deploying", "live at"):
        assert told in text


def test_nothing_half_written_is_left(pipeline_run: PipelineRun) -> None:
    assert not list(pipeline_run.home.bundles.iterdir())
    assert not list(pipeline_run.home.root.rglob(".*.partial"))
