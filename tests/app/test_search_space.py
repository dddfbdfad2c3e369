"""What a sweep may vary, and what is said about a space that makes no sense."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import BadInput
from app.search_space import Choice, Range, contains, ends, parse_space, read_files
from app.settings import FitSettings, SweepSettings

BASE = SweepSettings()


def test_every_kind_of_domain() -> None:
    space = parse_space(
        (
            "lr=log:0.001:0.1",
            "mixup=uniform:0:0.4",
            "epochs=int:5:20",
            "warmup = 0.1, 2e-1",
            "model=custom_cnn,mobile",
            "flip=true,false",
            "batch-size=32,64,auto",
        ),
        BASE,
    )
    assert space == {
        "lr": Range(0.001, 0.1, log=True),
        "mixup": Range(0, 0.4),
        "epochs": Range(5, 20, whole=True),
        "warmup": Choice((0.1, 0.2)),
        "model": Choice(("custom_cnn", "mobile")),
        "flip": Choice((True, False)),
        "batch_size": Choice((32, 64, "auto")),
    }


def test_a_file_holds_the_same_lines(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text("lr: log:0.001:0.1\nmodel: [custom_cnn, mobile]\nflip: [true, false]\ndropout: 0.5\n")
    lines = read_files((str(file), "cutout=0,0.25"))
    assert lines == ("lr=log:0.001:0.1", "model=custom_cnn,mobile", "flip=true,false", "dropout=0.5", "cutout=0,0.25")
    assert parse_space((str(file),), BASE) == parse_space(lines[:4], BASE)


def test_unless_asked_the_space_lies_around_the_usual_settings() -> None:
    for optimizer in ("adamw", "sgd", "muon"):
        base = SweepSettings(optimizer=optimizer)
        space = parse_space((), base)
        assert contains(space["lr"], base.peak_lr)
        assert not contains(space["lr"], 10 * base.peak_lr)
        assert contains(space["label_smoothing"], FitSettings().label_smoothing)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("lr=log:0:1", "above 0 for log"),
        ("lr=uniform:1:0.5", "below the second"),
        ("lr=uniform:1", "is no range such as uniform:1:10"),
        ("lr=uniform:nan:1", "below the second"),
        ("lr=high", "lr=high is a value of the wrong kind"),
        ("nothing=1,2", "there is no such setting to vary; there are: accumulate,"),
        ("seed=1,2", "no such setting"),
        ("label_smoothing=uniform:0:2", r"--label-smoothing must be in \[0, 1\), not 2.0"),
        ("optimizer=sgd,foo", "--optimizer must be one of"),
        ("nowhere.yaml", "is neither `setting=values` nor a YAML file"),
    ],
)
def test_nonsense_is_said_before_anything_starts(line: str, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        parse_space((line,), BASE)


def test_settings_that_exclude_each_other_are_not_varied_together() -> None:
    """Each alone may be; a trial that drew both could not start."""
    with pytest.raises(BadInput, match=r"--space mixup=0\.2 together with cutmix=1: --mixup and --cutmix exclude"):
        parse_space(("mixup=0,0.2", "lr=0.1,0.2", "cutmix=0,1"), BASE)


def test_a_setting_is_varied_once() -> None:
    with pytest.raises(BadInput, match="names a setting twice"):
        parse_space(("batch_size=32,64", "batch-size=128"), BASE)


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just text", "{", "\x00"])
def test_a_file_of_something_else(tmp_path: Path, text: str) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(text)
    with pytest.raises(BadInput, match=r"holds no lines|nor a YAML file"):
        parse_space((str(file),), BASE)


def test_ends_and_members() -> None:
    assert ends(Range(5, 20, whole=True)) == (5, 20)
    assert ends(Choice(("a", "b"))) == ("a", "b")
    assert contains(Choice(("a",)), "a")
    assert not contains(Choice(("a",)), "b")
    assert not contains(Range(0, 1), None)
