"""What settings refuse, and in which words."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from typing import Any

import pytest

from app.errors import BadInput
from app.settings import (
    ConvertSettings,
    DataSettings,
    DistillSettings,
    EvaluateSettings,
    FitSettings,
    LoopSettings,
    PipelineSettings,
    SweepSettings,
    TrainSettings,
    default_model_name,
    default_run_name,
)

NAN, INFINITE = float("nan"), float("inf")

REFUSED: list[tuple[type, str, list[Any]]] = [
    (FitSettings, "epochs", [0, -1]),
    (FitSettings, "batch_size", [1, 0, -64, "large"]),
    (FitSettings, "optimizer", ["", "adam"]),
    (FitSettings, "momentum", [-0.1, 1.0, NAN]),
    (FitSettings, "schedule", ["", "linear"]),
    (FitSettings, "plateau_patience", [0]),
    (FitSettings, "accumulate", [0]),
    (FitSettings, "clip", [0.0, -1.0, NAN, INFINITE]),
    (FitSettings, "ema", [0.0, 1.0, NAN]),
    (FitSettings, "patience", [0]),
    (FitSettings, "cutout", [-0.1, 1.0, NAN]),
    (FitSettings, "mixup", [-0.1, NAN, INFINITE]),
    (FitSettings, "cutmix", [-0.1, NAN, INFINITE]),
    (FitSettings, "checkpoint_epochs", [0]),
    (FitSettings, "checkpoint_minutes", [0.0, NAN, INFINITE]),
    (FitSettings, "lr", [0.0, -1e-3, NAN, INFINITE]),
    (FitSettings, "weight_decay", [-0.1, NAN, INFINITE]),
    (FitSettings, "label_smoothing", [-0.1, 1.0, NAN]),
    (FitSettings, "warmup", [-0.1, 1.0, NAN]),
    (FitSettings, "dropout", [-0.1, 1.0, NAN]),
    (FitSettings, "seed", [-1, 2**32]),
    (FitSettings, "precision", ["", "fp8", "FP32"]),
    (FitSettings, "shift", [-0.1, 1.0, NAN]),
    (FitSettings, "rotate", [-1.0, 180.1, NAN]),
    (FitSettings, "colour", [-0.1, 1.0, NAN]),
    (DataSettings, "data", [""]),
    (DataSettings, "image_size", [0, -5, 1025]),
    (DataSettings, "max_bad", ["", "%", "few", "1%%", "1%2", "1 percent", "-1%", "101%", "1.01", "nan", "inf", "nan%"]),
    (TrainSettings, "workers", ["0", "-1", "", "two", "4:2", "0:2", "1:2:3", "1.5"]),
    (TrainSettings, "keep_checkpoints", [0]),
    (TrainSettings, "storage", [""]),
    (DistillSettings, "temperature", [0.0, -1.0, NAN, INFINITE]),
    (DistillSettings, "alpha", [-0.1, 1.1, NAN]),
    (SweepSettings, "trials", [0]),
    (SweepSettings, "concurrent", [0]),
    (SweepSettings, "search", ["", "grid"]),
    (SweepSettings, "grace", [0]),
    (SweepSettings, "reduction", [1]),
    (TrainSettings, "threads", [0]),
    (TrainSettings, "max_failures", [-1]),
    (TrainSettings, "name", ["", "a/b", "a:b", "a@b", " a", "a\nb"]),
    (PipelineSettings, "port", [0, -1, 65536]),
    (ConvertSettings, "name", ["a/b"]),
    (EvaluateSettings, "split", ["", "validation"]),
]
ACCEPTED: list[tuple[type, str, list[Any]]] = [
    (FitSettings, "epochs", [None, 1]),
    (FitSettings, "batch_size", [None, 2, "auto"]),
    (TrainSettings, "workers", ["1", "1:4", "2:2"]),
    (FitSettings, "weight_decay", [0.0]),
    (FitSettings, "label_smoothing", [0.0, 0.99]),
    (FitSettings, "warmup", [0.0]),
    (FitSettings, "dropout", [0.0]),
    (FitSettings, "seed", [0, 2**32 - 1]),
    (FitSettings, "precision", ["auto", "fp32", "bf16", "fp16"]),
    (FitSettings, "shift", [0.0]),
    (FitSettings, "rotate", [0.0, 180.0]),
    (FitSettings, "colour", [0.0]),
    (DataSettings, "image_size", [None, 1, 1024]),
    (DataSettings, "max_bad", ["0", "100%", "1"]),
    (TrainSettings, "name", [None, "pets", "my pets", "v1.2_b-3", "öl"]),
    (PipelineSettings, "port", [1, 65535]),
    (EvaluateSettings, "split", ["train", "val", "test"]),
]
REQUIRED: dict[type, dict[str, Any]] = {
    DistillSettings: {"teacher": "x"},
    ConvertSettings: {"source": "x"},
    EvaluateSettings: {"version": "x"},
}


def cases(table: list[tuple[type, str, list[Any]]]) -> list[tuple[type, str, Any]]:
    return [(kind, name, value) for kind, name, values in table for value in values]


@pytest.mark.parametrize(("kind", "name", "value"), cases(REFUSED))
def test_refused(kind: type, name: str, value: Any) -> None:
    with pytest.raises(BadInput, match=re.escape("--" + name.replace("_", "-"))) as caught:
        kind(**REQUIRED.get(kind, {}), **{name: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("kind", "name", "value"), cases(ACCEPTED))
def test_accepted(kind: type, name: str, value: Any) -> None:
    assert getattr(kind(**REQUIRED.get(kind, {}), **{name: value}), name) == value


@pytest.mark.parametrize("kind", [LoopSettings, TrainSettings, PipelineSettings])
@pytest.mark.parametrize("wrong", [{"lr": -1.0}, {"max_bad": "nonsense"}])
def test_settings_made_of_others_check_all_of_them(kind: type, wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        kind(**wrong)


@pytest.mark.parametrize(
    ("text", "share"),
    [("1%", 0.01), ("0.01", 0.01), (" 1 % ", 0.01), ("0", 0), ("0%", 0), ("100%", 1), ("0.5%", 0.005), ("1", 1)],
)
def test_max_bad(text: str, share: float) -> None:
    assert DataSettings(max_bad=text).max_bad_share == pytest.approx(share)


def test_every_worker_needs_two_images_of_a_batch() -> None:
    TrainSettings(batch_size=8, workers="4")
    with pytest.raises(BadInput, match="--batch-size 8 leaves fewer than 2 images for each of 5 workers"):
        TrainSettings(batch_size=8, workers="2:5")


def test_settings_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        FitSettings().lr = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("dataset", "begins"),
    [("digits", "digits-2"), ("my pets: 2", "my-pets-2-2"), ("../../etc", "etc-2"), ("日本", "data-2"), ("-x", "x-2")],
)
def test_a_run_is_named_after_its_data_and_is_a_folder_name(dataset: str, begins: str) -> None:
    name = default_run_name(dataset)
    assert name.startswith(begins)
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*-\d{8}-\d{6}-[0-9a-f]{4}", name)
    assert default_run_name(dataset) != name


def test_settings_and_options_import_no_torch() -> None:
    """`manta --help` should not take seconds."""
    code = "import sys, app.settings, app.options; sys.exit('torch' in sys.modules or 'mlflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    ("dataset", "name"),
    [("photos", "photos"), ("a:b/c@d", "a-b-c-d"), ("été 2026", "été 2026"), ("::", "data"), (".hidden", "hidden")],
)
def test_a_model_named_after_its_data_can_be_referred_to(dataset: str, name: str) -> None:
    assert default_model_name(dataset) == name
    assert TrainSettings(name=name).name == name
