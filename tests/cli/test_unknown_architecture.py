"""A misspelt architecture is said before a cluster is started for it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from typer.testing import CliRunner

from app.architecture_names import ARCHITECTURE_NAMES, require_architecture
from app.cli import job_commands, training_commands
from app.cli.main import app
from app.errors import BadInput
from app.models import ARCHITECTURES, architecture


@pytest.mark.parametrize(
    "command",
    ["train --model mobil", "pipeline --model mobil", "distill a/1 --model mobil", "sweep --space model=mobile,mobil"],
)
def test_no_cluster_is_started(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_args: Any, **_options: Any) -> None:
        raise AssertionError("a cluster is started")

    for module in (training_commands, job_commands):
        monkeypatch.setattr(module, "session", start)
    error = CliRunner().invoke(app, command.split()).exception
    assert isinstance(error, BadInput)
    assert "unknown model 'mobil'; there are: custom_cnn, mobile, " in str(error)


def test_the_names_are_those_of_the_table() -> None:
    assert tuple(ARCHITECTURES) == ARCHITECTURE_NAMES


def test_torchvision_knows_its_own_names() -> None:
    require_architecture("torchvision:resnet17")
    with pytest.raises(BadInput, match="unknown model 'torchvision:resnet17'; torchvision has"):
        architecture("torchvision:resnet17")


def test_the_names_cost_no_torch() -> None:
    code = "import sys, app.architecture_names; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
