"""`manta models`, `versions` and `predict`, without a cluster."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.config import Home
from app.imaging import encode_png
from app.registry import Registry
from tests.bundles import register_colours
from tests.cli.manta import assert_refused, manta_here, manta_json_here


def colour(red: int, green: int, blue: int, *, size: int = 8) -> bytes:
    return encode_png(np.full((size, size, 3), (red, green, blue), np.uint8))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    (folder / "deeper").mkdir(parents=True)
    (folder / "a.png").write_bytes(colour(255, 0, 0))
    (folder / "deeper" / "b.PNG").write_bytes(colour(0, 0, 255, size=30))
    (folder / "notes.txt").write_text("not an image")
    return folder


@pytest.fixture
def registered(home: Home, registry: Registry) -> Home:
    register_colours(home)
    return home


def test_predict_takes_files_and_folders_in_order(registered: Home, images: Path) -> None:
    answer = manta_json_here(registered, "predict", images / "a.png", images)
    found = [(Path(each["file"]).name, each["predictions"][0]["class_name"]) for each in answer["predictions"]]
    assert found == [("a.png", "red"), ("a.png", "red"), ("b.PNG", "blue")]


@pytest.mark.parametrize(("top_k", "count"), [(1, 1), (2, 2), (99, 3)])
def test_top_k_above_the_classes_means_all(registered: Home, images: Path, top_k: int, count: int) -> None:
    answer = manta_json_here(registered, "predict", images / "a.png", "--model", "colours/1", "--top-k", top_k)
    (row,) = answer["predictions"]
    assert len(row["predictions"]) == count
    assert row["model_version"] == "1"


def test_a_bad_file_is_named_and_the_others_are_answered(registered: Home, images: Path) -> None:
    (images / "cut.png").write_bytes(colour(1, 2, 3)[:-20])
    answer = manta_here(registered, "predict", images)
    assert_refused(answer, 2, "1 of 3 files")
    assert "a.png: red" in answer.stdout
    assert "cut.png: error:" in answer.stdout


def test_predict_refuses_a_bundle_with_a_changed_byte(registered: Home, images: Path) -> None:
    model = Registry(registered).resolve("colours/1").folder / "model.onnx"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    assert_refused(manta_here(registered, "predict", images), 4, "model.onnx was changed")


@pytest.mark.parametrize(
    ("reference", "code"), [("colours/2", 3), ("colours@challenger", 3), ("other", 3), ("@champion", 0), ("1", 0)]
)
def test_references(registered: Home, images: Path, reference: str, code: int) -> None:
    assert manta_here(registered, "predict", images / "a.png", "--model", reference).returncode == code


def test_predict_asks_nobody_at_a_dead_url(registered: Home, images: Path) -> None:
    assert_refused(manta_here(registered, "predict", images, "--url", "http://127.0.0.1:9"), 6, "no answer from")


def test_versions_lists_aliases_and_accuracy(registered: Home) -> None:
    (version,) = manta_json_here(registered, "versions")["versions"]
    assert (version["version"], version["aliases"]) == ("colours/1", ["champion"])
    assert version["tags"]["accuracy.fp32"] == "1.000000"
    assert "colours/1" in manta_here(registered, "versions").stdout


def test_an_empty_registry_says_how_to_fill_it(home: Home) -> None:
    answer = manta_here(home, "versions")
    assert answer.returncode == 0
    assert "manta pipeline" in answer.stdout


def test_models_counts_parameters_and_operations(home: Home) -> None:
    listed = manta_json_here(home, "models")["models"]
    (row,) = [each for each in listed if each["name"] == "custom_cnn"]
    table = manta_json_here(home, "models", "custom_cnn")
    assert row["parameters"] == table["parameters"] == sum(layer["parameters"] for layer in table["layers"])
    assert table["layers"][0]["output_shape"] == [32, 32, 32]
    assert table["layers"][-1]["output_shape"] == [10]


def test_status_without_a_cluster_is_an_answer_not_an_error(home: Home) -> None:
    status = manta_json_here(home, "status")
    assert status["dashboard_url"] is None
    assert status["applications"] == {}


VERBS = (
    *(
        "pipeline",
        "train",
        "sweep",
        "distill",
        "prune",
        "runs",
        "convert",
        "compare",
        "evaluate",
        "cascade",
        "verify",
        *("batch-predict", "retrain"),
    ),
    *("models", "versions", "predict", "serve", "benchmark", "up", "down", "status"),
    *("deploy", "undeploy", "traffic", "promote", "rollback", "ab", "drift", "monitor"),
)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_with_an_example(home: Home, verb: str) -> None:
    text = manta_here(home, verb, "--help").stdout
    assert f"Example: manta {verb}" in text
    assert "--json" in text


def test_every_verb_is_listed_here(home: Home) -> None:
    listed = manta_here(home, "--help").stdout.partition("Commands:")[2]
    assert {line.split()[0] for line in listed.splitlines() if line.startswith("  ") and line[2] != " "} == set(VERBS)
