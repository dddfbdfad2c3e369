"""A job that the tests run: its help, its options, and its errors.

Second paragraph of the help.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import typer
from hypothesis import example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from app.errors import BadInput, GateFailed, JobFailed, MantaError
from app.options import field_docs, flag, run_command_line, run_job, to_argv
from app.settings import (
    ConvertSettings,
    DistillSettings,
    EvaluateSettings,
    FitSettings,
    LoopSettings,
    PipelineSettings,
    SweepSettings,
    TrainSettings,
)
from tests.app.parsing import command_of, parse


@dataclass(frozen=True, kw_only=True)
class Base:
    inherited: int = 3
    """Told in the base class."""


@dataclass(frozen=True, kw_only=True)
class Sample(Base):
    source: str
    """What to read."""
    rate: float = 0.5
    """How fast,
    over two lines."""
    mirror: bool | None = None
    """Tri-state."""
    loud: bool = False
    """A switch."""
    careful: bool = True
    """On unless told otherwise."""
    undocumented: str = "x"

    def __post_init__(self) -> None:
        if self.rate > 1:
            raise BadInput(f"--rate must be at most 1, not {self.rate}")


def usage_error(argv: list[str]) -> str:
    result = CliRunner().invoke(command_of(Sample)[0], argv)
    assert result.exit_code == 2
    return result.output


def test_defaults_and_an_argument() -> None:
    assert parse(Sample, ["here"]) == Sample(source="here")


def test_every_option() -> None:
    argv = ["--inherited", "7", "--rate", "0.25", "--mirror", "--loud", "--no-careful", "--undocumented", "y", "there"]
    assert parse(Sample, argv) == Sample(
        source="there", inherited=7, rate=0.25, mirror=True, loud=True, careful=False, undocumented="y"
    )
    assert parse(Sample, ["--no-mirror", "there"]).mirror is False


def test_what_cannot_be_used_is_a_usage_error() -> None:
    assert "Missing argument 'source'" in usage_error([])
    assert "--rate" in usage_error(["x", "--rate", "fast"])
    assert "No such option: --no-loud" in usage_error(["x", "--no-loud"])
    assert "--sped" in usage_error(["x", "--sped", "1"])


def test_help_is_the_text_under_each_field() -> None:
    text = " ".join(CliRunner().invoke(command_of(Sample)[0], ["--help"], terminal_width=200).output.split())
    for expected in (
        "What to read. [required]",
        "--inherited <int> Told in the base class. [default: 3]",
        "How fast, over two lines. [default: 0.5]",
        "--mirror / --no-mirror Tri-state.",
        "--loud A switch.",
        "--careful / --no-careful On unless told otherwise. [default: careful]",
    ):
        assert expected in text
    assert "no-loud" not in text


@pytest.mark.parametrize(
    "kind", [PipelineSettings, ConvertSettings, EvaluateSettings, LoopSettings, DistillSettings, SweepSettings]
)
def test_every_real_field_has_its_text(kind: type) -> None:
    texts = field_docs(kind)
    assert {field.name for field in dataclasses.fields(kind)} == texts.keys()
    assert all(text.endswith((".", ")")) for text in texts.values())


def test_argv_leaves_out_defaults() -> None:
    assert to_argv(Sample(source="x")) == ["x"]
    assert to_argv(Sample(source="x", mirror=False, careful=False, loud=True)) == [
        "--no-mirror",
        "--loud",
        "--no-careful",
        "x",
    ]
    assert flag("max_bad") == "--max-bad"


def test_argv_of_a_base_class_has_its_fields_only() -> None:
    assert to_argv(PipelineSettings(lr=0.1, workers="3", port=99), FitSettings) == ["--lr", "0.1"]
    assert to_argv(PipelineSettings(workers="3", port=99), TrainSettings) == ["--workers", "3"]


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
NAMES = st.none() | st.from_regex(r"\w[\w.-]{0,19}", fullmatch=True)
SHARE = st.floats(0, 1, exclude_max=True)
FIT = {
    "model": TEXT,
    "epochs": st.none() | st.integers(1, 10**6),
    "lr": st.floats(1e-12, 1e12),
    "weight_decay": st.floats(0, 1e6),
    "label_smoothing": SHARE,
    "warmup": SHARE,
    "dropout": SHARE,
    "seed": st.integers(0, 2**32 - 1),
    "precision": st.sampled_from(["auto", "fp32", "bf16", "fp16"]),
    "flip": st.none() | st.booleans(),
    "shift": SHARE,
    "rotate": st.floats(0, 180),
    "colour": SHARE,
    "batch_size": st.integers(64, 4096) | st.just("auto"),
    "optimizer": st.sampled_from(["adamw", "sgd", "muon"]),
    "clip": st.none() | st.floats(0.001, 100),
    "compile": st.booleans(),
    "alternate_flip": st.booleans(),
    "data": TEXT,
    "image_size": st.none() | st.integers(1, 1024),
    "max_bad": st.sampled_from(["0", "1%", "0.25", "12.5 %", "1"]),
}
PIPELINE = st.builds(
    PipelineSettings,
    **FIT,
    workers=st.integers(1, 32).map(str) | st.just("1:4"),
    storage=st.none() | TEXT,
    command=TEXT,
    threads=st.none() | st.integers(1, 64),
    gpu=st.none() | st.booleans(),
    max_failures=st.integers(0, 9),
    name=NAMES,
    run=st.none() | TEXT,
    resume=st.none() | TEXT,
    git_commit=TEXT,
    port=st.integers(1, 65535),
)
LOOP = st.builds(LoopSettings, **FIT, out=TEXT, resume=st.booleans())
DISTILL = st.builds(DistillSettings, teacher=TEXT, temperature=st.floats(0.1, 100), alpha=st.floats(0, 1))
SWEEP = st.builds(SweepSettings, space=st.lists(TEXT, max_size=3).map(tuple), trials=st.integers(1, 99))
CONVERT = st.builds(ConvertSettings, source=TEXT, data=st.none() | TEXT, name=NAMES, git_commit=TEXT)


@settings(max_examples=60, deadline=None)
@given(st.one_of(PIPELINE, LOOP, CONVERT, DISTILL, SWEEP))
@example(ConvertSettings(source="--data"))
@example(ConvertSettings(source="-1", data="--", git_commit="-x"))
def test_settings_survive_the_command_line(given_settings: Any) -> None:
    assert parse(type(given_settings), to_argv(given_settings)) == given_settings


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], main: Callable[[Sample], None], *argv: str
) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a job."""
    monkeypatch.setattr(sys, "argv", ["job", *argv])
    with pytest.raises(SystemExit) as ended:
        run_job(Sample, main)
    assert isinstance(ended.value.code, int)
    return ended.value.code, *capsys.readouterr()


def test_a_job_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def main(settings: Sample) -> None:
        print(settings.source)

    assert run(monkeypatch, capsys, main, "here") == (0, "here\n", "")


def test_the_modules_docstring_is_the_jobs_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(_: Sample) -> None:
        pytest.fail("ran")

    code, out, _ = run(monkeypatch, capsys, main, "--help")
    assert code == 0
    assert "A job that the tests run: its help, its options, and its errors." in out
    assert "Second paragraph" in out


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MantaError("no"), 1),
        (BadInput("no"), 2),
        (GateFailed("no"), 5),
        (JobFailed("no"), 7),
        (JobFailed("no", exit_code=3), 3),
    ],
)
def test_an_error_is_one_line_and_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: MantaError, code: int
) -> None:
    def main(_: Sample) -> None:
        raise error

    assert run(monkeypatch, capsys, main, "x") == (code, "", "error: no\n")


def test_settings_that_refuse_a_value_end_the_job_before_it_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(_: Sample) -> None:
        pytest.fail("ran")

    assert run(monkeypatch, capsys, main, "x", "--rate", "2") == (2, "", "error: --rate must be at most 1, not 2.0\n")


def test_an_interrupt_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def main(_: Sample) -> None:
        raise KeyboardInterrupt

    assert run(monkeypatch, capsys, main, "x")[0] == 130


def test_a_defect_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def command() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(sys, "argv", ["job"])
    with pytest.raises(ZeroDivisionError):
        run_command_line(app)
