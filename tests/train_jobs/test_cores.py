"""Cores of a cluster whose nodes are not alike."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import ray

from train_jobs import cores


def cluster_of(monkeypatch: pytest.MonkeyPatch, *declared: float, here: int = 0, own: int = 4) -> None:
    """Logical CPUs of each node; the last of them is gone. here: the driver's node, a machine of so many cores."""
    nodes = [
        {"NodeID": str(number), "Alive": number < len(declared) - 1, "Resources": {"CPU": cpus} if cpus else {}}
        for number, cpus in enumerate(declared)
    ]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: str(here)))
    monkeypatch.setattr(cores, "usable_cores", lambda: own)


def test_tickets_of_this_machine_are_not_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster_of(monkeypatch, 16.0, 8.0)
    assert cores.cluster_cores() == 4
    assert cores.threads_each(2) == 2


def test_other_nodes_have_what_they_declare(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a small head of large workers does."""
    cluster_of(monkeypatch, 0.0, 64.0, 64.0, 64.0, own=1)
    assert cores.cluster_cores() == 128
    assert cores.threads_each(4) == 32
    assert cores.threads_each(1) == 64, "one worker is on one node"


def test_there_is_always_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster_of(monkeypatch, 0.0, 8.0)
    assert cores.cluster_cores() == 1
    assert cores.threads_each(3) == 1
