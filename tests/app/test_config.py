"""The budget of logical CPUs: what docs/ARCHITECTURE.md promises to fit on two of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.config import CPU, Home, grpc_port
from app.errors import BadInput

LAPTOP = 2.0
SERVING = CPU.router + 2 * CPU.classifier + CPU.control
DECODING = 2 * CPU.decode_task


def test_a_retraining_fits_beside_champion_challenger_and_router() -> None:
    assert SERVING + 2 * CPU.train_worker + DECODING <= LAPTOP


def test_a_sweep_with_two_trials_fits_too() -> None:
    assert SERVING + 2 * (CPU.trial + CPU.train_worker) + DECODING <= LAPTOP


def test_two_trials_of_two_workers_wait_for_each_other_without_blocking_both() -> None:
    """Both trials start, one gets its workers (placed all or none), so one always goes on."""
    assert SERVING + 2 * CPU.trial + 2 * CPU.train_worker <= LAPTOP


def test_home_is_absolute_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MANTA_HOME", "relative")
    assert Home.from_env().root == tmp_path / "relative"
    monkeypatch.delenv("MANTA_HOME")
    assert Home.from_env().root == Path.home() / ".manta"


@pytest.mark.parametrize(("value", "port"), [("", None), ("9000", 9000), ("65535", 65535)])
def test_the_grpc_port(monkeypatch: pytest.MonkeyPatch, value: str, port: int | None) -> None:
    monkeypatch.setenv("MANTA_GRPC_PORT", value)
    assert grpc_port() == port


@pytest.mark.parametrize("value", ["9000x", "0", "65536", "-1", "no", "९०००"])
def test_what_is_no_grpc_port_is_not_passed_over(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MANTA_GRPC_PORT", value)
    with pytest.raises(BadInput, match=f"^MANTA_GRPC_PORT is '{value}', which is no port"):
        grpc_port()
