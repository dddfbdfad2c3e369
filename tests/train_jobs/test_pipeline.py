"""What the pipeline job promises, checked on what it left behind and on the live endpoint."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from app.artifact import CHECKPOINT_FILE, local_folder, open_bundle
from app.batches import DeviceSplit
from app.checkpoint import read_model
from app.datasets import prepare
from app.evaluate import accuracy, predict_in_batches
from app.inference import OnnxClassifier
from app.precision import autocast
from app.promotions import read_promotions
from app.registry import CHAMPION, Registry
from app.validation import evaluate
from tests.pipeline_run import PipelineRun
from train_jobs.runs import open_run


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


def test_the_best_epoch_by_validation_accuracy_was_exported(pipeline_run: PipelineRun) -> None:
    """The loss tells epochs apart that answer equally many images right."""
    run = open_run(pipeline_run.home, "pipeline-digits")
    best = max(run.history(), key=lambda epoch: (epoch.val_accuracy, -epoch.val_loss))
    assert f"best epoch {best.epoch}:" in "\n".join(pipeline_run.lines)
    bundle = open_bundle(local_folder(pipeline_run.result["artifacts"]))
    card, model = read_model(bundle.folder / CHECKPOINT_FILE)
    cpu = torch.device("cpu")
    val = DeviceSplit(prepare("digits", cache=pipeline_run.home.datasets).val, cpu)
    precision = autocast(run.settings.precision, cpu, card.architecture)
    loss, right = evaluate(model, val, precision=precision)
    assert right == pytest.approx(best.val_accuracy, abs=0.01)
    assert loss == pytest.approx(best.val_loss, rel=0.01)


def test_progress_is_told_all_along(pipeline_run: PipelineRun) -> None:
    text = "\n".join(pipeline_run.lines)
    for told in ("digits:", "starting 2 training workers", "epoch   6/6", "registered digits/", "deploying", "live at"):
        assert told in text


def test_nothing_half_written_is_left(pipeline_run: PipelineRun) -> None:
    assert not list(pipeline_run.home.bundles.iterdir())
    assert not list(pipeline_run.home.root.rglob(".*.partial"))
