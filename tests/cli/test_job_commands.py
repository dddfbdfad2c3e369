"""The verbs that need a cluster: on one that runs, and with one that lives as long as the command."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

from app.config import Home
from app.imaging import encode_png
from app.promotions import read_promotions
from app.registry import Registry
from cluster import local
from cluster.local import LocalCluster
from cluster.ports import free_port
from cluster.processes import marked_processes
from cluster.serve_client import ServeClient
from tests.app.image_trees import write_tree
from tests.bundles import register_colours
from tests.cli.manta import MANTA, assert_refused, environment, manta, manta_json
from tests.pipeline_run import PipelineRun
from tests.waiting import wait_for


def test_evaluate_gives_the_registered_accuracy(pipeline_run: PipelineRun) -> None:
    answer = manta_json(pipeline_run.home, "evaluate", pipeline_run.result["version"])
    assert answer["accuracy"] == pipeline_run.result["test_accuracy"]["onnx"]
    assert sum(map(sum, answer["confusion"])) == pipeline_run.result["test_images"]
    assert [row["label"] for row in answer["classes"]] == list("0123456789")


def test_convert_registers_a_new_version_of_the_same_weights(pipeline_run: PipelineRun) -> None:
    answer = manta_json(
        pipeline_run.home, "convert", pipeline_run.result["version"], "--name", "converted", "--variants", "int8,fp16"
    )
    registry = Registry(pipeline_run.home)
    converted = registry.resolve(answer["version"])
    assert converted.tags["parent_version"] == pipeline_run.result["version"]
    assert answer["test_accuracy"] == {name: pipeline_run.result["test_accuracy"][name] for name in ("pytorch", "onnx")}
    fp32, int8, fp16 = answer["variants"]
    assert fp32["max_error"] <= 1e-5
    assert int8["mean_error"] > 0
    assert int8["status"] == "ok" or int8["reason"].startswith("not faster than fp32: ")
    assert (fp16["status"], fp16["name"]) == ("ok", "fp16")
    files = {path.name for path in converted.folder.iterdir()}
    assert ("model.int8.onnx" in files) == (int8["status"] == "ok")
    assert "model.fp16.onnx" in files
    assert converted.tags["parent_version"] == pipeline_run.result["version"]
    verified = manta_json(pipeline_run.home, "verify", answer["version"])
    assert next(row["name"] for row in verified["variants"]) == "fp32"
    assert {row["name"]: row["accuracy"] for row in verified["variants"]}["fp16"] == fp16["accuracy"]


@pytest.mark.minutes
def test_a_pruned_version_is_smaller_and_stands_beside_the_whole_one(pipeline_run: PipelineRun) -> None:
    home, whole = pipeline_run.home, pipeline_run.result["version"]
    options = "--data digits --remove 0.3 --steps 1 --epochs 3 --workers 1 --run less"
    pruned = manta_json(home, "prune", whole, *options.split())
    (step,) = pruned["steps"]
    assert step["parameters"] < step["parameters_before"]
    assert pruned["test_accuracy"]["onnx"] > 0.8
    assert Registry(home).resolve(pruned["version"]).tags["teacher"] == whole

    compared = manta_json(home, "compare", whole, pruned["version"])
    sizes = {row["version"]: row["bytes"] for row in compared["variants"] if row["name"] == "fp32"}
    assert sizes[pruned["version"]] < sizes[whole]
    names = {row["name"] for row in compared["variants"]}
    assert names - {"engine-fp32"} == {"pytorch", "pytorch-compiled", "fp32"}
    assert Path(compared["report"]).read_text().startswith("<!doctype html>")

    cascade = manta_json(home, "cascade", pruned["version"], whole, "--max-loss", "0.5")
    assert cascade["validation"]["accuracy"] >= cascade["validation"]["accurate_alone"] - 0.005
    assert 0 <= cascade["test"]["share"] <= 1
    assert "threshold" in Path(cascade["file"]).read_text()


def test_serve_status_and_predict_over_http(pipeline_run: PipelineRun, cluster: LocalCluster, tmp_path: Path) -> None:
    from app.datasets import prepare

    home, version = pipeline_run.home, pipeline_run.result["version"]
    test = prepare("digits", cache=home.datasets).test
    (tmp_path / "digit.png").write_bytes(encode_png(test.images[0]))
    with contextlib.closing(ServeClient(cluster.dashboard_url)) as client:
        try:
            served = manta_json(home, "serve", version, "--port", client.state().port or free_port())
            assert served["version"] == version
            answer = manta_json(home, "predict", tmp_path / "digit.png", "--url", served["url"])
            here = manta_json(home, "predict", tmp_path / "digit.png", "--model", version)
            ours, theirs = (each["predictions"][0]["predictions"][0] for each in (here, answer))
            assert ours["class_name"] == theirs["class_name"]
            assert ours["confidence"] == pytest.approx(theirs["confidence"], abs=1e-6)
            status = manta_json(home, "status")
            assert status["url"] == served["url"]
            assert set(status["applications"].values()) == {"RUNNING"}
            assert status["missing_flags"] == []
        finally:
            client.shutdown()


def test_serving_makes_champion_and_serving_the_former_one_rolls_back(
    pipeline_run: PipelineRun, cluster: LocalCluster, tmp_path: Path
) -> None:
    """Version 1 of one model after version 1 of another: each answers with its own labels, and only its own."""
    home, digits = pipeline_run.home, pipeline_run.result["version"]
    register_colours(home, promoted=False)
    (tmp_path / "red.png").write_bytes(encode_png(np.full((8, 8, 3), (255, 0, 0), np.uint8)))
    with contextlib.closing(ServeClient(cluster.dashboard_url)) as client:
        try:
            url = manta_json(home, "serve", digits, "--port", client.state().port or free_port())["url"]
            assert manta_json(home, "serve", "colours/1")["url"] == url, "on the port where the service is"
            (answer,) = manta_json(home, "predict", tmp_path / "red.png", "--url", url)["predictions"]
            assert answer["predictions"][0]["class_name"] == "red"
            assert Registry(home).resolve("colours@champion").version == "1"
            assert read_promotions(home.promotion_log)[-1].who == "manta serve"
            manta_json(home, "serve", digits)
            (answer,) = manta_json(home, "predict", tmp_path / "red.png", "--url", url)["predictions"]
            assert answer["predictions"][0]["class_name"] in "0123456789"
            running = [name for name in client.state().declared if name.startswith("classifier-")]
            assert len(running) == 1, "nothing is left behind"
        finally:
            client.shutdown()


def test_a_model_that_learned_nothing_is_registered_but_not_promoted(
    pipeline_run: PipelineRun, cluster: LocalCluster, tmp_path: Path
) -> None:
    noise = {
        f"{label}/{n}.png": encode_png(np.full((16, 16, 3), 100, np.uint8))
        for label in ("cat", "dog")
        for n in range(20)
    }
    data = write_tree(tmp_path / "nothing", noise)
    answer = manta(pipeline_run.home, "pipeline", "--data", data, "--epochs", 1, "--workers", 1, "--port", free_port())
    assert_refused(answer, 5, "nothing/1 is not promoted: its test accuracy of 50.00% is no better than")
    assert Registry(pipeline_run.home).resolve("nothing/1").aliases == ()


def test_print_config_is_a_document_that_serve_accepts(pipeline_run: PipelineRun) -> None:
    import yaml
    from ray.serve.schema import ServeDeploySchema

    answer = manta(pipeline_run.home, "serve", pipeline_run.result["version"], "--print-config")
    document = ServeDeploySchema.model_validate(yaml.safe_load(answer.stdout))
    assert {application.name for application in document.applications} == {
        "control",
        "router",
        f"classifier-{pipeline_run.result['version'].partition('/')[2]}",
    }


def test_an_interrupted_pipeline_stops_all_it_started_and_says_how_to_go_on(home: Home) -> None:
    import json

    command = [MANTA, "pipeline", "--data", "digits", "--epochs", "500", "--run", "mine", "--port", str(free_port())]
    history = home.runs / "mine" / "history.json"
    with subprocess.Popen(
        command, env=environment(home), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            wait_for(lambda: history.exists() or process.poll() is not None, seconds=120)
            assert process.poll() is None, process.communicate()[0]
            mark = json.loads(home.cluster_file.read_text())["mark"]
            assert marked_processes(mark)
            os.kill(process.pid, signal.SIGINT)
            text, _ = process.communicate(timeout=60)
            left, cluster_is_known = marked_processes(mark), home.cluster_file.exists()
        finally:
            process.kill()
            local.stop(home)  # what a test that fails would leave behind
    assert process.returncode == 130
    assert "manta train --resume mine" in text
    assert "Traceback" not in text
    assert left == []
    assert not cluster_is_known


def test_a_failed_pipeline_stops_its_cluster_too(home: Home, tmp_path: Path) -> None:
    """The data passes the first look, but its files are no images."""
    files = {f"{label}/{n}.png": b"no image" for label in ("cat", "dog") for n in range(20)}
    answer = manta(home, "pipeline", "--data", write_tree(tmp_path / "data", files), "--port", free_port())
    assert answer.returncode == 2, answer.stderr
    assert answer.stderr.strip().splitlines()[-1].startswith("error: ")
    assert not home.cluster_file.exists()
    assert not list(home.datasets.glob("*"))
    assert not home.runs.exists()
