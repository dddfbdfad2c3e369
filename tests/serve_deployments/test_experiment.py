"""When an A/B test begins and ends, and which answers are part of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from app.errors import BadInput
from app.traffic_changes import added, promoted, replaced, stopped, weighted
from app.traffic_file import TrafficFile, TrafficVersion
from serve_deployments.experiment import Experiments
from serve_deployments.live_store import LiveStore
from serve_deployments.report import LoggedAnswer


def version(name: str) -> TrafficVersion:
    return TrafficVersion(version=name, application=f"classifier-{name}", bundle_uri=f"/{name}")


TRAFFIC = added(replaced(TrafficFile(), "colours", version("1")), version("2"), 50)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LiveStore]:
    store = LiveStore(tmp_path / "live.db")
    yield store
    store.close()


@pytest.fixture
def experiments(store: LiveStore) -> Experiments:
    return Experiments(store)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    now = [1000.0]
    monkeypatch.setattr("serve_deployments.experiment.time.time", lambda: now[0])
    yield now


def answered(store: LiveStore, name: str, n: int, correct: int, at: float) -> None:
    """This version answered so many images then, and feedback came for all."""
    for number in range(n):
        request = f"{name}-{at}-{number}"
        logged = LoggedAnswer(request, 0, name, "champion" if name == "1" else "challenger", 0, 0.9, at)
        store.add_answers([logged])
        store.add_feedback(request, 0, 0 if number < correct else 1)


def arms(comparison: Mapping[str, Any]) -> dict[str, int]:
    compared = [comparison["champion"], *(each["challenger"] for each in comparison["contrasts"])]
    return {arm["name"]: arm["n"] for arm in compared}


def test_other_shares_or_another_graph_begin_a_new_test(
    clock: list[float], store: LiveStore, experiments: Experiments
) -> None:
    """At another hour other images come: what both versions answered before says nothing of the difference."""
    before = experiments.compare(TRAFFIC)["since"]
    int8 = added(TRAFFIC, version("2").model_copy(update={"application": "classifier-2-int8", "variant": "int8"}), 20)
    for changed in (weighted(TRAFFIC, {"2": 20}), int8, replaced_model(int8)):
        clock[0] += 10
        assert experiments.compare(changed)["since"] == clock[0] > before
        clock[0] += 10
        assert experiments.compare(changed.after(changed))["since"] == clock[0] - 10


def replaced_model(traffic: TrafficFile) -> TrafficFile:
    return traffic.model_copy(update={"model": "animals"})


def test_a_test_that_was_stopped_counts_no_arm_any_longer(
    clock: list[float], store: LiveStore, experiments: Experiments
) -> None:
    """The champion goes on answering, at other hours than the challenger did."""
    began = clock[0]
    experiments.follow(TRAFFIC)
    answered(store, "1", 4, 3, began + 1)
    answered(store, "2", 4, 3, began + 1)
    clock[0] = began + 5
    experiments.follow(TRAFFIC)
    clock[0] = began + 9
    alone = stopped(TRAFFIC, "2")
    experiments.follow(alone)
    answered(store, "1", 30, 0, began + 20)
    clock[0] = began + 30
    comparison = experiments.compare(alone)
    assert (comparison["since"], comparison["until"]) == (began, began + 5), "it was last seen then"
    assert arms(comparison) == {"1": 4, "2": 4}
    assert arms(experiments.compare(promoted(TRAFFIC, "2"))) == {"1": 4, "2": 4}, "still of who was the champion then"

    assert arms(experiments.compare(TRAFFIC)) == {"1": 0, "2": 0}, "to go on at the same share is another test"


def test_a_test_of_another_model_is_not_this_ones(
    clock: list[float], store: LiveStore, experiments: Experiments
) -> None:
    experiments.follow(TRAFFIC)
    answered(store, "1", 2, 2, clock[0] + 1)
    answered(store, "2", 2, 2, clock[0] + 1)
    clock[0] += 10
    animals = replaced_model(stopped(TRAFFIC, "2"))
    assert experiments.compare(animals)["model"] == "colours"
    assert experiments.compare(replaced_model(TRAFFIC))["champion"]["n"] == 0


def test_without_any_test_there_is_nothing_to_look_at(experiments: Experiments) -> None:
    with pytest.raises(BadInput, match="no challenger has any traffic"):
        experiments.compare(stopped(TRAFFIC, "2"))
