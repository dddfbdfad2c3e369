"""The champion's traffic against its reference: what is told, what is written down, and when it ends."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from app.errors import BadInput, BrokenBundle
from app.reference import REFERENCE_FILE
from app.traffic_file import TrafficVersion
from serve_deployments.drift_watch import DriftWatch
from serve_deployments.live_store import LiveStore
from serve_deployments.observation import Observation, Observer
from serve_deployments.report import LoggedAnswer
from serve_deployments.schemas import ControlArgs
from tests.bundles import write_colour_bundle


class Row:
    def __init__(self, probabilities: np.ndarray) -> None:
        self.probabilities = probabilities


class Traffic:
    """Users' images, as bright as chance has it, and what version 1 answers to them."""

    def __init__(self, store: LiveStore, folder: Path) -> None:
        self.store = store
        self.champion = TrafficVersion(version="1", application="classifier-1", bundle_uri=folder.as_uri())
        self.generator = np.random.default_rng(0)
        write_colour_bundle(folder, reference=self.images(600))

    def images(self, count: int, *, brightness: float = 100.0) -> tuple[np.ndarray, np.ndarray]:
        """uint8 [N, 8, 8, 3], and probabilities, float32 [N, 3]."""
        pixels = self.generator.normal(brightness, 30, (count, 1, 1, 1)) + self.generator.normal(0, 9, (count, 8, 8, 3))
        probabilities = self.generator.dirichlet([1, 1, 1], count)
        return np.clip(pixels, 0, 255).astype(np.uint8), probabilities.astype(np.float32)

    def send(self, count: int, *, brightness: float = 100.0, ago_s: float = 0.0) -> None:
        seen: list[Observation] = []
        observer = Observer(1e9, seen.append)
        for pixels, probabilities in zip(*self.images(count, brightness=brightness), strict=True):
            observer.see(self.champion.bundle_uri, [pixels], [Row(probabilities)])
        self.store.add_answers([], [each._replace(at=time.time() - ago_s) for each in seen])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LiveStore]:
    store = LiveStore(tmp_path / "live.db")
    yield store
    store.close()


@pytest.fixture
def traffic(store: LiveStore, tmp_path: Path) -> Traffic:
    return Traffic(store, tmp_path / "1")


def watch(store: LiveStore, **args: float) -> DriftWatch:
    return DriftWatch(store, ControlArgs.model_validate(args))


def decisions(store: LiveStore) -> list[tuple[str, str, str]]:
    """Oldest first."""
    return [(each["who"], each["what"], each["why"]) for each in reversed(store.decisions())]


def test_drift_is_told_and_written_down_once(store: LiveStore, traffic: Traffic) -> None:
    drift = watch(store)
    traffic.send(300)
    found = drift.look(traffic.champion, "colours")
    assert (found.images, found.reference_images, found.drifting) == (300, 600, {})
    assert decisions(store) == []

    traffic.send(900, brightness=200)
    for each in (drift, drift, watch(store)):  # control began anew
        found = each.look(traffic.champion, "colours")
        assert list(found.drifting) == ["brightness"]
    ((who, what, why),) = decisions(store)
    assert (who, what) == ("drift", "colours/1 sees other images than it was measured on")
    assert why.startswith("brightness: PSI ")
    gauges = found.gauges()
    assert gauges["manta_drift_images", ("1",)] == 1200
    assert gauges["manta_drifted", ("1", "brightness")] == 1
    assert gauges["manta_drifted", ("1", "feedback")] == 0
    assert gauges["manta_drift_psi", ("1", "brightness")] > 0.2


def test_drift_ends_when_the_images_are_as_before(store: LiveStore, traffic: Traffic) -> None:
    traffic.send(400, brightness=160, ago_s=1000)
    assert watch(store).look(traffic.champion, "colours").drifting
    traffic.send(500)
    later = watch(store, drift_window_s=500)
    assert later.look(traffic.champion, "colours").drifting == {}
    assert decisions(store)[-1] == (
        "drift",
        "colours/1 sees such images again as it was measured on",
        "as before: brightness",
    )


def test_a_night_without_users_ends_no_drift(store: LiveStore, traffic: Traffic) -> None:
    traffic.send(400, brightness=160, ago_s=1000)
    assert watch(store).look(traffic.champion, "colours").drifting
    later = watch(store, drift_window_s=500)
    assert list(later.look(traffic.champion, "colours").drifting) == ["brightness"]
    traffic.send(199)
    assert list(later.look(traffic.champion, "colours").drifting) == ["brightness"]
    assert len(decisions(store)) == 1


def test_what_lies_at_the_limit_is_said_once(store: LiveStore, traffic: Traffic) -> None:
    traffic.send(500, brightness=130)
    found = watch(store, drift_psi=9).look(traffic.champion, "colours")
    psi = {each.name: each.psi for each in found.measures}["brightness"]
    below, above = watch(store, drift_psi=0.99 * psi), watch(store, drift_psi=1.01 * psi)
    for each in (above, below, above, below, above):
        each.look(traffic.champion, "colours")
    assert len(decisions(store)) == 1


def test_of_two_that_drift_one_may_end(store: LiveStore, traffic: Traffic) -> None:
    traffic.send(300, brightness=160, ago_s=1000)
    watch(store).look(traffic.champion, "colours")
    answered(store, traffic, 400, wrong_every=5)
    traffic.send(300)
    found = watch(store, drift_window_s=500).look(traffic.champion, "colours")
    assert list(found.drifting) == ["feedback"]
    assert decisions(store)[-1][2] == "as before: brightness; feedback still drifts"


def test_another_versions_images_do_not_count(store: LiveStore, traffic: Traffic, tmp_path: Path) -> None:
    traffic.send(300, brightness=250)
    other = Traffic(store, tmp_path / "2")
    assert watch(store).look(other.champion, "colours").images == 0


def answered(store: LiveStore, traffic: Traffic, n: int, *, wrong_every: int) -> None:
    """The champion answered so many images just now, and users told what they were."""
    name = f"{n}-{wrong_every}"
    now = time.time()
    store.add_answers(
        [LoggedAnswer(f"{name}-{number}", 0, "1", "champion", number % 3, 0.9, now) for number in range(n)]
    )
    for number in range(n):
        label = number % 3 if number % wrong_every else (number + 1) % 3
        store.add_feedback(f"{name}-{number}", 0, label)


def test_feedback_that_is_worse_than_was_measured(store: LiveStore, traffic: Traffic) -> None:
    """It needs no images that were looked at."""
    watch(store).look(traffic.champion, "colours")
    answered(store, traffic, 300, wrong_every=5)
    found = watch(store).look(traffic.champion, "colours")
    assert found.feedback is not None
    assert (found.feedback.n, found.feedback.accuracy, found.feedback.expected) == (300, 0.8, 1.0)
    assert list(found.drifting) == ["feedback"]
    answered(store, traffic, 3000, wrong_every=10**6)
    assert list(watch(store).look(traffic.champion, "colours").drifting) == ["feedback"], "98 % is still no 100 %"
    assert len(decisions(store)) == 1


def test_feedback_from_before_the_champion_does_not_count(store: LiveStore, traffic: Traffic) -> None:
    """Another model may have had a version of that number."""
    answered(store, traffic, 300, wrong_every=2)
    found = watch(store).look(traffic.champion, "colours")
    assert found.feedback is not None
    assert found.feedback.n == 0


def test_of_many_images_some_are_compared(store: LiveStore, traffic: Traffic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve_deployments.drift_watch.MOST_IMAGES", 100)
    traffic.send(350)
    assert 80 <= watch(store).look(traffic.champion, "colours").images <= 100


def test_a_bundle_from_before_says_what_to_do(store: LiveStore, tmp_path: Path) -> None:
    write_colour_bundle(tmp_path / "3")
    champion = TrafficVersion(version="3", application="classifier-3", bundle_uri=str(tmp_path / "3"))
    with pytest.raises(BadInput, match="make it anew with `manta convert colours/3`"):
        watch(store).look(champion, "colours")


def test_a_damaged_reference_is_no_reference(store: LiveStore, traffic: Traffic, tmp_path: Path) -> None:
    (tmp_path / "1" / REFERENCE_FILE).write_text("{}")
    with pytest.raises(BrokenBundle, match=r"reference\.json"):
        watch(store).look(traffic.champion, "colours")


def test_old_observations_are_forgotten(store: LiveStore, traffic: Traffic, monkeypatch: pytest.MonkeyPatch) -> None:
    traffic.send(10, ago_s=8 * 24 * 3600)
    traffic.send(20, ago_s=50)
    traffic.send(10)
    store.prune()
    assert len(store.observations(traffic.champion.bundle_uri, 0, most=100)) == 30
    monkeypatch.setattr("serve_deployments.live_store.KEEP_OBSERVATIONS", 9)
    store.prune()
    assert len(store.observations(traffic.champion.bundle_uri, 0, most=100)) == 10


def seen_by(observer_rate: float, requests: Sequence[int]) -> list[Observation]:
    seen: list[Observation] = []
    observer = Observer(observer_rate, seen.append)
    for size in requests:
        observer.see("/1", [np.zeros((8, 8, 3), np.uint8)] * size, [Row(np.array([0.2, 0.8], np.float32))] * size)
    return seen


def test_one_image_of_a_request_and_not_of_every_one() -> None:
    assert len(seen_by(0.01, [0, 5, 5, 5])) == 1
    assert len(seen_by(1e9, [5, 5, 0])) == 2
    assert seen_by(0, [5, 5]) == []
    (seen,) = seen_by(1, [1])
    assert seen.prediction == 1
    assert seen.confidence == pytest.approx(0.8)
