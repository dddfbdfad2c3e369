"""The picture of a training run: both splits over the epochs, and the best one marked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.figure
import pytest

from app.curves import draw_curves
from app.imaging import decode
from tests.app.epochs import history


def test_a_picture_is_written(tmp_path: Path) -> None:
    draw_curves(history([0.1, 0.5, 0.3]), tmp_path / "curves.png", "three epochs")
    height, width, _ = decode((tmp_path / "curves.png").read_bytes()).shape
    assert (height, width) == (432, 1080)


@pytest.mark.parametrize("accuracies", [[0.5], [0.1] * 99 + [0.2]])
def test_one_epoch_and_a_hundred(tmp_path: Path, accuracies: list[float]) -> None:
    draw_curves(history(accuracies), tmp_path / "curves.png", "t")
    assert (tmp_path / "curves.png").stat().st_size > 1000


def test_what_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", lambda figure, *_args, **_options: drawn.append(figure))
    draw_curves(history([0.1, 0.5, 0.3]), tmp_path / "curves.png", "digits")
    (figure,) = drawn
    assert figure.get_suptitle() == "digits"
    loss, accuracy = ({line.get_label(): line for line in axes.lines} for axes in figure.axes)
    assert list(loss["train"].get_ydata()) == pytest.approx([2, 1, 2 / 3])
    assert list(loss["val"].get_ydata()) == pytest.approx([3, 1.5, 1])
    assert list(accuracy["val"].get_ydata()) == [0.1, 0.5, 0.3]
    assert list(accuracy["val"].get_xdata()) == [1, 2, 3]
    for lines in (loss, accuracy):
        assert list(lines["best epoch (2)"].get_xdata()) == [2, 2]


def test_no_display_is_asked_for() -> None:
    import subprocess
    import sys

    code = "import sys, app.curves; from matplotlib.figure import Figure; sys.exit('matplotlib.pyplot' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
