"""Control without a cluster: what it does when its disk is full, that it goes on, and when an A/B test begins."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from app.config import Home
from app.errors import BadInput
from app.traffic_changes import added, replaced, stopped, weighted
from app.traffic_file import TrafficFile, TrafficVersion
from cluster.serve_client import ServeState
from serve_deployments import control as control_module
from serve_deployments.control import Control
from serve_deployments.metrics import Tally
from serve_deployments.report import LoggedAnswer, Report
from serve_deployments.schemas import ControlArgs
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
    control = Control(ControlArgs())
    control._serve.live = TRAFFIC  # type: ignore[attr-defined]
    await control._know(TRAFFIC)
    yield control
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
    assert await control.report(report("r", *many)) == {"result": None}
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
    assert control._store.tally().counters["manta_requests", ("1", "champion", "ok")] == 8


async def test_a_step_that_fails_does_not_keep_the_others_from_being_done(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    guarded = asyncio.Event()

    async def fails() -> None:
        raise OSError("disk")

    async def guards() -> None:
        guarded.set()

    async def soon(_seconds: float) -> None:
        await sleep(0)

    sleep = asyncio.sleep
    monkeypatch.setattr(control, "_refresh", fails)
    monkeypatch.setattr(control, "_keep_counts", fails)
    monkeypatch.setattr(control, "_guard_all", guards)
    monkeypatch.setattr(asyncio, "sleep", soon)
    watch = asyncio.create_task(control._watch_all())
    for _ in range(3):
        guarded.clear()
        async with asyncio.timeout(5):
            await guarded.wait()
    watch.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watch


async def test_other_shares_or_another_graph_begin_a_new_test(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At another hour other images come: what both versions answered before says nothing of the difference."""
    clock = itertools.count(1000)
    monkeypatch.setattr("serve_deployments.control.time.time", lambda: float(next(clock)))
    first = control._experiment_began(TRAFFIC)
    assert control._experiment_began(TRAFFIC.after(TRAFFIC)) == first
    assert control._experiment_began(weighted(TRAFFIC, {"2": 20})) == 1000.0
    int8 = added(TRAFFIC, version("2").model_copy(update={"application": "classifier-2-int8", "variant": "int8"}), 20)
    assert control._experiment_began(int8) == 1001.0
    assert control._experiment_began(int8) == 1001.0


async def test_to_look_at_a_test_that_was_stopped_does_not_begin_another(control: Control) -> None:
    first = control._experiment_began(TRAFFIC)
    assert control._experiment_began(stopped(TRAFFIC, "2")) == first
    with pytest.raises(BadInput, match="no challenger has any traffic"):
        control._compare(stopped(TRAFFIC, "2"))
    assert control._experiment_began(TRAFFIC) == first
