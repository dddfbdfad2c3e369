"""How a command ends the cluster it started."""

from __future__ import annotations

import os
import signal

import pytest

from app.cli.output import Output
from app.cli.session import session
from app.config import Home
from app.errors import ClusterError
from cluster import local
from cluster.local import LocalCluster


def test_a_terminated_command_ends_as_an_interrupted_one(
    cluster: LocalCluster, cluster_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MANTA_HOME", str(cluster_home.root))
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), session(Output(as_json=True)):
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
    assert local.find(cluster_home), "a cluster that was there before is left alone"


def test_a_named_cluster_that_does_not_answer_is_said(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:9")
    with session(Output(as_json=True)) as running, pytest.raises(ClusterError, match="no Ray cluster answers"):
        running.run_job("train_jobs.train", [], Output(as_json=True))
