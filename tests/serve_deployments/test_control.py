"""Control without a cluster: what it does when its disk is full, that it goes on, and when an A/B test begins."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.config import Home
from app.errors import Conflict
from app.traffic_changes import added, automatic, promoted, replaced, stopped, weighted
from app.traffic_file import TrafficFile, TrafficVersion
from cluster.serve_client import ServeState
from serve_deployments import control as control_module
from serve_deployments.control import Control
from serve_deployments.metrics import Tally
from serve_deployments.observation import Observation
from serve_deployments.registry_follower import LiveChampion
from serve_deployments.report import Instructions, LoggedAnswer, Report
from serve_deployments.schemas import ControlArgs
from serve_deployments.verdicts import decision
from serve_deployments.windows import Windows
from tests.bundles import write_colour_bundle
from tests.serve_deployments.full_disk import full_disk


class FakeServe:
    def __init__(self, _url: str) -> None:
        self.live = TrafficFile()

    def state(self) -> ServeState:
        raise AssertionError("nothing here looks at a Serve document")


def version(name: str) -> TrafficVersion:
    return TrafficVersion(version=name, application=f"classifier-{name}", bundle_uri=f"/{name}")


TRAFFIC = added(replaced(TrafficFile(), "colours", version("1")), version("2"), 50)


@pytest.fixture
async def control(home: Home, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Control]:
    """Changes take effect at once, in its fake of Serve."""

    def change(serve: FakeServe, _home: Home, make: Any, **_options: object) -> TrafficFile:
        serve.live = make(serve.live, {}).after(serve.live)
        return serve.live

    monkeypatch.setattr(control_module, "_dashboard_url", lambda: "http://nowhere")
    monkeypatch.setattr(control_module, "ServeClient", FakeServe)
    monkeypatch.setattr(control_module, "change", change)
    control = Control(ControlArgs(least_trial_s=0.0))
    control._serve.live = TRAFFIC  # type: ignore[attr-defined]
    await control._know(TRAFFIC)
    yield control
    control._database.shutdown()
    control._store.close()


def report(router: str, *answers: str, requests: int = 1) -> Report:
    tally = Tally()
    tally.count("manta_requests", ("1", "champion", "ok"), requests)
    logged = [LoggedAnswer(answer, 0, "1", "champion", 0, 0.9, 100.0) for answer in answers]
    return Report(
        router=router, revision=1, problem=None, tally=tally, gauges={}, statistics={}, taken_out={}, answers=logged
    )


async def test_answers_that_cannot_be_kept_are_refused_so_that_the_router_keeps_them(control: Control) -> None:
    many = [f"{number:0200}" for number in range(500)]
    with full_disk(control._store):
        reply = await control.report(report("r", *many))
        assert reply["error"] == "ClusterError"
        assert "live.db cannot be written: database or disk is full" in reply["message"]
        feedback = await control.feedback("y" * 5000, 0, 1)
        assert feedback["error"] == "ClusterError"
    assert await control.report(report("r", *many)) == {"result": Instructions(suspended=frozenset())}
    assert await control.feedback(many[0], 0, 0) == {"result": {"joined": True}}


async def test_a_change_is_in_effect_also_when_it_cannot_be_written_down(control: Control) -> None:
    with full_disk(control._store):
        for percent in range(1, 9):  # until the last page is full
            done: Mapping[str, Any] = (await control.change("weights", {"percent": {"2": percent}, "why": "y" * 2000}))[
                "result"
            ]
            assert (done["state"], done["percent"]) == ("done", {"1": 100 - percent, "2": percent})
            if "warning" in done:
                break
    assert "is in effect, but the decision is not written down" in done["warning"]
    written = (await control.decisions())["result"]
    assert "warning" not in (await control.change("weights", {"percent": {"2": 30}}))["result"]
    assert len((await control.decisions())["result"]) == len(written) + 1


async def test_counts_of_a_router_that_is_gone_are_kept_once_there_is_room(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_deployments.windows.GONE_AFTER_S", -1.0)
    await control.report(report("gone", requests=7))
    many = report("many")
    for number in range(2000):  # so that the counts need pages that are not there
        many.tally.count("manta_fallbacks", (f"version {number}", "error"))
    await control.report(many)
    with full_disk(control._store), pytest.raises(Exception, match="disk is full"):
        await control._keep_counts()
    await control._keep_counts()
    kept = Windows(control._store.counted(), keep_s=60)
    assert kept.total().counters["manta_requests", ("1", "champion", "ok")] == 8


async def test_metrics_are_told_though_they_cannot_be_kept(control: Control) -> None:
    many = report("many", requests=3)
    for number in range(2000):
        many.tally.count("manta_fallbacks", (f"version {number}", "error"))
    await control.report(many)
    with full_disk(control._store):
        assert (
            b'manta_requests_total{arm="champion",outcome="ok",version="1"} 3.0' in (await control.metrics())["result"]
        )


async def test_what_metrics_told_is_known_to_the_next_control(control: Control) -> None:
    """Prometheus takes a counter that falls for one that began anew, and adds up all of it once more."""
    await control.report(report("r", requests=7))
    told = (await control.metrics())["result"]
    control._store.close()  # killed
    successor = Control(ControlArgs())
    await successor._know(TRAFFIC)
    line = b'manta_requests_total{arm="champion",outcome="ok",version="1"} 7.0'
    assert line in told
    assert line in (await successor.metrics())["result"]
    successor._store.close()


async def test_a_step_that_fails_does_not_keep_the_others_from_being_done(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    guarded, sleep = asyncio.Event(), asyncio.sleep

    async def fails() -> None:
        raise OSError("disk")

    async def hangs() -> None:
        await asyncio.Event().wait()

    async def guards() -> None:
        guarded.set()

    async def soon(_seconds: float) -> None:
        await sleep(0)

    monkeypatch.setattr(control, "_refresh", fails)
    monkeypatch.setattr(control, "_catch_up", hangs)
    monkeypatch.setattr(control, "_guard_all", guards)
    monkeypatch.setattr(asyncio, "sleep", soon)
    await control.reconfigure(None)
    for _ in range(3):
        guarded.clear()
        async with asyncio.timeout(5):
            await guarded.wait()
    for task in control._tasks:
        task.cancel()
    await asyncio.gather(*control._tasks, return_exceptions=True)


# Drift


async def test_drift_is_in_the_metrics_and_among_the_decisions(control: Control, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 128, (300, 8, 8, 3), dtype=np.uint8)
    write_colour_bundle(tmp_path / "1", reference=(images, generator.dirichlet([1, 1, 1], 300)))
    champion = version("1").model_copy(update={"bundle_uri": str(tmp_path / "1")})
    await control._know(replaced(TrafficFile(), "colours", champion))
    bright = Observation(time.time(), champion.bundle_uri, 0, 0.7, 250.0, 30.0, 30.0, 30.0)
    seen = [bright._replace(at=bright.at - number) for number in range(300)]
    for _ in range(2):  # the router heard nothing of the first one
        assert "error" not in await control.report(dataclasses.replace(report("r"), observations=seen))
    await control._watch_drift()
    told = (await control.metrics())["result"].decode()
    assert 'manta_drift_images{version="1"} 300.0' in told
    assert 'manta_drifted{measure="brightness",version="1"} 1.0' in told
    (decision,) = (await control.decisions())["result"]
    assert (decision["who"], decision["what"]) == ("drift", "colours/1 sees other images than it was measured on")

    # A champion that says nothing of held-out images is compared with nothing.
    write_colour_bundle(tmp_path / "2")
    await control._know(
        replaced(TrafficFile(), "colours", version("2").model_copy(update={"bundle_uri": str(tmp_path / "2")}))
    )
    await control._watch_drift()
    assert "manta_drifted{" not in (await control.metrics())["result"].decode()


# Verdicts


def judged(control: Control, version: str, arm: str, n: int, correct: int) -> None:
    """This version answered so many images just now, and users told what they were."""
    now = time.time()
    rows = [(f"{version}-{number}", 0, version, arm, 0, int(number >= correct), now, now) for number in range(n)]
    with control._store._transaction() as database:  # all at once: ten thousands take a minute one by one
        database.executemany("INSERT OR REPLACE INTO feedback VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)


@pytest.fixture
def registry_follows(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    async def follow(_champion: LiveChampion) -> None:
        pass

    monkeypatch.setattr(control._registry, "follow", follow)


def judged_better(control: Control) -> None:
    """Version 2 surely is."""
    judged(control, "1", "champion", 300, 100)
    judged(control, "2", "challenger", 300, 290)


def on_trial(control: Control, *, decides_itself: bool = True) -> TrafficFile:
    traffic: TrafficFile = automatic(TRAFFIC, "2", decides_itself)
    control._serve.live = traffic  # type: ignore[attr-defined]
    return traffic


async def test_a_challenger_that_is_better_becomes_the_champion_where_nobody_wants_to_be_asked(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed = asyncio.Event()

    async def follow(champion: LiveChampion) -> None:
        assert (champion.version, champion.who) == ("2", "A/B test")
        followed.set()

    monkeypatch.setattr(control._registry, "follow", follow)
    await control._know(on_trial(control))
    judged(control, "1", "champion", 300, 200)
    judged(control, "2", "challenger", 150, 100)
    await control._decide()
    assert (await control.decisions())["result"] == [], "nothing is decided yet"
    judged(control, "2", "challenger", 300, 290)
    await control._decide()
    assert followed.is_set()
    assert control._traffic is not None
    assert control._traffic.champion is not None
    assert (control._traffic.champion.version, control._traffic.former) == ("2", "1")
    assert not control._traffic.champion.automatic
    (decided,) = (await control.decisions())["result"]
    assert (decided["who"], decided["what"]) == ("A/B test", "version 2 is promoted to champion")
    assert decided["why"].startswith("challenger better: +")
    await control._decide()
    assert len((await control.decisions())["result"]) == 1


@pytest.mark.parametrize(("n", "correct", "why"), [(300, 180, "challenger worse: -"), (90_000, 85_500, "equivalent: ")])
async def test_a_challenger_that_is_no_better_is_taken_down(control: Control, n: int, correct: int, why: str) -> None:
    await control._know(on_trial(control))
    judged(control, "1", "champion", n, round(0.95 * n))
    judged(control, "2", "challenger", n, correct)
    await control._decide()
    assert control._traffic is not None
    assert control._traffic.weights == {"1": 100}
    assert [each.version for each in control._traffic.versions] == ["1"]
    (decided,) = (await control.decisions())["result"]
    assert (decided["what"], decided["why"][: len(why)]) == ("version 2 is taken down", why)


async def test_nothing_is_decided_too_early(control: Control) -> None:
    """The first minutes are one hour's users."""
    control._args = ControlArgs(least_trial_s=60.0)
    await control._know(on_trial(control))
    judged_better(control)
    await control._decide()
    assert (await control.decisions())["result"] == []


async def test_a_challenger_that_broke_a_guardrail_is_not_promoted(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether that is known at the verdict, or only when its turn comes to change the service."""
    monkeypatch.setattr(control_module, "_DECISION_RETRY_S", 0.0)
    traffic = on_trial(control)
    await control._know(traffic)
    judged_better(control)
    request = decision(traffic, control._experiments.compare(traffic), Tally(), control._suspended)
    assert request is not None
    control._suspended["classifier-2"] = "errors"
    await control._decide()
    with pytest.raises(Conflict, match="has broken a guardrail since the verdict"):
        await control._apply(request, lambda _statuses: None)
    assert (await control.decisions())["result"] == []


async def test_a_challenger_that_the_champion_stands_in_for_is_not_promoted(control: Control) -> None:
    """What it fails on is no part of the comparison."""
    await control._know(on_trial(control))
    judged_better(control)
    await control.report(report("r"))
    counted = report("r")
    counted.tally.count("manta_requests", ("2", "challenger", "ok"), 990)
    counted.tally.count("manta_fallbacks", ("2", "error"), 10)
    await control.report(counted)
    await control._decide()
    assert (await control.decisions())["result"] == []


async def test_the_better_of_two_is_promoted_before_the_worse_is_taken_down(
    control: Control, registry_follows: None
) -> None:
    """To take one down begins another test, in which what the better one has shown does not count."""
    both = automatic(added(on_trial(control), version("3"), 20), "3", True)
    control._serve.live = both  # type: ignore[attr-defined]
    await control._know(both)
    judged(control, "1", "champion", 300, 200)
    judged(control, "2", "challenger", 300, 100)
    judged(control, "3", "challenger", 300, 290)
    await control._decide()
    assert control._traffic is not None
    assert control._traffic.champion is not None
    assert control._traffic.champion.version == "3"
    assert {each.version for each in control._traffic.versions} == {"1", "2", "3"}


async def test_the_champion_before_the_former_one_is_taken_down(control: Control, registry_follows: None) -> None:
    """Otherwise each retraining left its replicas behind."""
    second = promoted(added(replaced(TrafficFile(), "colours", version("0")), version("1"), 50), "1")
    traffic = automatic(added(second, version("2"), 50), "2", True)
    control._serve.live = traffic  # type: ignore[attr-defined]
    await control._know(traffic)
    judged_better(control)
    await control._decide()
    assert control._traffic is not None
    assert ([each.version for each in control._traffic.versions], control._traffic.former) == (["1", "2"], "1")


async def test_others_are_asked(control: Control) -> None:
    await control._know(on_trial(control, decides_itself=False))
    judged_better(control)
    await control._decide()
    assert (await control.decisions())["result"] == []


async def test_a_verdict_about_other_traffic_changes_nothing(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_module, "_DECISION_RETRY_S", 0.0)
    traffic = on_trial(control)
    await control._know(traffic)
    judged_better(control)
    control._serve.live = weighted(traffic, {"2": 10})  # type: ignore[attr-defined]
    await control._decide()
    assert (await control.decisions())["result"] == []


# Guardrails


def failing(requests: int) -> Report:
    tally = Tally()
    tally.count("manta_requests", ("2", "challenger", "error"), requests)
    return dataclasses.replace(report("r"), tally=tally)


async def test_a_challenger_that_breaks_a_guardrail_is_suspended_while_somebody_else_changes_the_service(
    control: Control,
) -> None:
    """Starting another version may take two minutes: its users do not wait for that."""
    await control.report(failing(0))
    now = time.monotonic()
    control._weighted_since["classifier-2"] = now - 100
    control._windows.add(failing(200), now)
    async with control._changing:
        await control._guard(TRAFFIC, now)
        await control._guard(TRAFFIC, now)
        assert (await control.report(failing(200)))["result"].suspended == {"classifier-2"}
        assert len(control._tasks) == 1
    await asyncio.gather(*control._tasks)
    assert control._traffic is not None
    assert control._traffic.challengers == ()
    assert (await control.report(failing(200)))["result"].suspended == frozenset()
    (decision,) = (await control.decisions())["result"]
    assert decision["who"] == "guardrail"
    assert "100.0% of 200 requests failed" in decision["why"]


async def test_former_failures_are_not_held_against_a_version_that_gets_its_share_back(control: Control) -> None:
    await control.report(failing(0))
    now = time.monotonic()
    control._windows.add(failing(200), now)
    await control._know(stopped(TRAFFIC, "2"))
    await control._know(TRAFFIC)
    await control._guard(TRAFFIC, time.monotonic())
    assert control._suspended == {}


async def test_what_others_change_is_among_the_decisions(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    """`manta serve` and pipelines do not ask control."""
    other = replaced(TRAFFIC, "animals", version("1")).after(TRAFFIC)
    state = ServeState(host=None, port=None, applications={})
    monkeypatch.setattr(ServeState, "traffic", other)
    monkeypatch.setattr(control._serve, "state", lambda: state)
    await control._refresh()
    await control._refresh()
    (decision,) = (await control.decisions())["result"]
    assert decision["what"] == f"revision {other.revision}: champion colours/1 -> animals/1"


async def test_what_was_read_before_a_change_is_not_taken_for_news(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, may_answer = threading.Event(), threading.Event()
    old = ServeState(host=None, port=None, applications={})
    monkeypatch.setattr(ServeState, "traffic", TRAFFIC.after(TRAFFIC).model_copy(update={"model": "old"}))

    def slow() -> ServeState:
        read.set()
        may_answer.wait(10)
        return old

    monkeypatch.setattr(control._serve, "state", slow)
    looking = asyncio.create_task(control._refresh())
    await asyncio.to_thread(read.wait, 10)
    changed = stopped(TRAFFIC, "2").after(TRAFFIC)
    await control._know(changed)
    may_answer.set()
    assert await looking == control._traffic == changed
    assert (await control.decisions())["result"] == []
