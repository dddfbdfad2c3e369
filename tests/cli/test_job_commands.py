"""The verbs that need a cluster: on one that runs, and with one that lives as long as the command."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from app.config import Home
from app.imaging import encode_png
from app.registry import Registry
from cluster.environment import MARK
from cluster.local import LocalCluster
from cluster.ports import free_port
from cluster.serve_client import ServeClient
from tests.cli.manta import MANTA, environment, manta, manta_json
from tests.pipeline_run import PipelineRun


def test_evaluate_gives_the_registered_accuracy(pipeline_run: PipelineRun) -> None:
    answer = manta_json(pipeline_run.home, "evaluate", pipeline_run.result["version"])
    assert answer["accuracy"] == pipeline_run.result["test_accuracy"]["onnx"]
    assert sum(map(sum, answer["confusion"])) == pipeline_run.result["test_images"]
    assert [row["label"] for row in answer["classes"]] == list("0123456789")


def test_convert_registers_a_new_version_of_the_same_weights(pipeline_run: PipelineRun) -> None:
    answer = manta_json(pipeline_run.home, "convert", pipeline_run.result["version"], "--name", "converted")
    registry = Registry(pipeline_run.home)
    converted = registry.resolve(answer["version"])
    assert converted.tags["parent_version"] == pipeline_run.result["version"]
    assert answer["test_accuracy"] == {name: pipeline_run.result["test_accuracy"][name] for name in ("pytorch", "onnx")}
    (variant,) = answer["variants"]
    assert variant["max_error"] <= 1e-5


def test_convert_takes_a_training_run_too(pipeline_run: PipelineRun) -> None:
    answer = manta_json(pipeline_run.home, "convert", "pipeline-digits", "--name", "from-run")
    assert answer["test_accuracy"]["onnx"] == pipeline_run.result["test_accuracy"]["onnx"]


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


def test_print_config_is_a_document_that_serve_accepts(pipeline_run: PipelineRun) -> None:
    import yaml
    from ray.serve.schema import ServeDeploySchema

    answer = manta(pipeline_run.home, "serve", pipeline_run.result["version"], "--print-config")
    document = ServeDeploySchema.model_validate(yaml.safe_load(answer.stdout))
    assert {application.name for application in document.applications} == {
        "router",
        f"classifier-{pipeline_run.result['version'].partition('/')[2]}",
    }


def marked(mark: str) -> list[psutil.Process]:
    """Processes of the cluster that carries this mark."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == mark:
                found.append(process)
    return found


def test_an_interrupted_pipeline_stops_all_it_started_and_says_how_to_go_on(home: Home) -> None:
    import json

    command = [MANTA, "pipeline", "--data", "digits", "--epochs", "500", "--run", "mine", "--port", str(free_port())]
    process = subprocess.Popen(
        command, env=environment(home), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        deadline = time.monotonic() + 120
        while not (home.runs / "mine" / "history.json").exists():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        mark = json.loads(home.cluster_file.read_text())["mark"]
        assert marked(mark)
        os.kill(process.pid, signal.SIGINT)
        started = time.monotonic()
        text, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert time.monotonic() - started < 15
    assert process.returncode == 130
    assert "manta train --resume mine" in text
    assert "Traceback" not in text
    assert not marked(mark)
    assert not home.cluster_file.exists()


def test_a_failed_pipeline_stops_its_cluster_too(home: Home, tmp_path: Path) -> None:
    """The data passes the first look, but its files are no images."""
    from tests.app.image_trees import write_tree

    files = {f"{label}/{n}.png": b"no image" for label in ("cat", "dog") for n in range(20)}
    answer = manta(home, "pipeline", "--data", write_tree(tmp_path / "data", files), "--port", free_port())
    assert answer.returncode == 2, answer.stderr
    assert answer.stderr.strip().splitlines()[-1].startswith("error: ")
    assert not home.cluster_file.exists()
    assert not list(home.datasets.glob("*"))
    assert not home.runs.exists()
