"""`manta-engine` against Python on the same files, and its manners: exit codes, messages, JSON."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

import app
from tests.engine.golden import CIFAR10
from tests.engine.running import run_engine

TOLERANCE = 1e-5


@pytest.mark.parametrize("bundle", ["colours", "network"])
def test_the_same_answers_as_python(build: Path, golden: Path, bundle: str) -> None:
    done = run_engine(build, "-m", golden / "bundles" / bundle, "-d", golden / "images", "--json", "--top-k", "100")
    assert done.returncode == 0, done.stderr
    results = {Path(result["file"]).name: result for result in json.loads(done.stdout)["results"]}
    expected = json.loads((golden / "golden.json").read_text(encoding="utf-8"))
    assert results.keys() == {entry["file"] for entry in expected}
    for entry in expected:
        assert_same(results[entry["file"]], entry, bundle)


def assert_same(result: dict[str, Any], expected: dict[str, Any], bundle: str) -> None:
    if "error" in expected:
        assert result["error"] == expected["error"], expected["file"]
        return
    assert result["image_shape"] == [expected["height"], expected["width"], 3], expected["file"]
    probabilities = expected["answers"][bundle]["probabilities"]
    predictions = result["predictions"]
    assert predictions[0]["class_id"] == probabilities.index(max(probabilities)), expected["file"]
    for prediction in predictions:
        assert prediction["confidence"] == pytest.approx(probabilities[prediction["class_id"]], abs=TOLERANCE)


def test_cifar10_is_among_the_images(golden: Path) -> None:
    if not CIFAR10.is_file():
        pytest.skip(f"no CIFAR-10: {CIFAR10} is missing (MANTA_CIFAR10 names another place)")
    assert len(list((golden / "images").glob("cifar10-*"))) == 200


def test_info(build: Path, golden: Path) -> None:
    info = json.loads(run_engine(build, "-m", golden / "bundles" / "network", "--info", "--json").stdout)
    assert info["class_names"][0] == "class 0 äöü"
    assert info["input_shape"] == [-1, 32, 32, 3]
    assert "10:" in run_engine(build, "-m", golden / "bundles" / "network", "--info").stdout


def test_help_and_version(build: Path) -> None:
    assert "--model PATH" in run_engine(build, "--help").stdout
    assert run_engine(build, "--version").stdout == f"manta-engine {app.__version__}\n"


def test_unreadable_files_are_counted_and_passed_over(build: Path, golden: Path, tmp_path: Path) -> None:
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    good = golden / "images" / "size-32x32.png"
    shutil.copy(good, tmp_path / "deep" / "deeper" / "image.PNG")
    shutil.copy(good, tmp_path / "deep" / "without_a_suffix")
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    (tmp_path / "readme.txt").write_text("not an image, and not meant to be one")
    (tmp_path / "loop").symlink_to(tmp_path)
    model = golden / "bundles" / "colours"
    done = run_engine(build, "-m", model, "-d", tmp_path, "-i", tmp_path / "missing.png", "--json")
    answer = json.loads(done.stdout)
    assert done.returncode == 0
    assert (answer["num_images"], answer["num_failed"]) == (2, 2)
    assert f"{tmp_path / 'broken.jpg'}: not a JPEG" in done.stderr
    assert "cannot read" in done.stderr
    assert run_engine(build, "-m", model, "-i", tmp_path / "broken.jpg").returncode == 2


def test_names_that_are_no_utf_8_leave_json_whole(build: Path, golden: Path, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    shutil.copytree(golden / "bundles" / "colours", folder / "bundle")
    shutil.copy(golden / "images" / "size-32x32.png", folder / "image.png")
    images = ("-i", folder / "image.png", "-i", folder / "missing.png")
    done = run_engine(build, "-m", folder / "bundle", *images, "--json")
    answer = json.loads(done.stdout)
    shown = f"{tmp_path}/caf\ufffd"
    assert answer["model_path"] == f"{shown}/bundle/model.onnx"
    assert [result["file"] for result in answer["results"] if "error" not in result] == [f"{shown}/image.png"]
    assert f"cannot read {shown}/missing.png" in [result.get("error") for result in answer["results"]]


def test_a_bundle_whose_graph_is_missing_is_a_damaged_one(build: Path, golden: Path, tmp_path: Path) -> None:
    shutil.copytree(golden / "bundles" / "colours", tmp_path / "bundle")
    (tmp_path / "bundle" / "model.onnx").unlink()
    done = run_engine(build, "-m", tmp_path / "bundle", "--info")
    assert done.returncode == 4
    assert done.stderr == f"error: bundle {tmp_path / 'bundle'}: model.onnx is missing\n"


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ([], 2, "--model is missing"),
        (["--model"], 2, "needs a value"),
        (["-m", "{bundle}"], 2, "nothing to do"),
        (["-m", "{bundle}", "--nope"], 2, "no option --nope"),
        (["-m", "{bundle}", "stray"], 2, "unexpected argument"),
        (["-m", "{bundle}", "-b", "--batch", "0"], 2, "--batch must be a whole number"),
        (["-m", "{bundle}", "-b", "--top-k", "1.5"], 2, "--top-k"),
        (["-m", "/does/not/exist", "--info"], 3, "there is no model"),
        (["-m", "{bundle}", "--variant", "int8", "--info"], 3, "has no variant 'int8'"),
        (["-m", "{bundle}", "-d", "/does/not/exist"], 3, "there is no directory"),
        (["-m", "{refused}", "--info"], 4, "carries no Manta manifest"),
    ],
)
def test_one_clear_line_and_an_exit_code(build: Path, golden: Path, arguments: list[str], code: int, text: str) -> None:
    places = {"bundle": golden / "bundles" / "colours", "refused": golden / "models" / "no_manifest.onnx"}
    done = run_engine(build, *(argument.format(**places) for argument in arguments))
    assert done.returncode == code
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert text in done.stderr


@pytest.mark.parametrize("options", [[], ["--batch", "8"], ["--workers", "2", "--no-decode"], ["--gpu"]])
def test_benchmark(build: Path, golden: Path, options: list[str]) -> None:
    model = golden / "bundles" / "network"
    done = run_engine(build, "-m", model, "-b", "--iterations", "20", "--json", *options)
    answer = json.loads(done.stdout)
    workers, batch = (2 if "--workers" in options else 1), (8 if "--batch" in options else 1)
    assert answer["images"] == 20 * workers * batch
    assert answer["images_per_second"] > 0
    assert answer["stages"]["run"]["count"] == 20 * workers
    assert answer["stages"]["decode"]["count"] == (0 if "--no-decode" in options else 20 * batch)
    assert 0 < answer["call"]["p50_ms"] <= answer["call"]["p99_ms"]
