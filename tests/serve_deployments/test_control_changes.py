"""The owner of live state without a cluster: what a change answers, and when."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from app.config import Home
from app.errors import ClusterError, MantaError, NotFound
from app.replicas import Replicas
from app.traffic_changes import added, promoted, removed, replaced
from app.traffic_file import TrafficFile
from cluster.serve_document import place
from serve_deployments import control as control_module
from serve_deployments.batch_statistics import BatchStatistics, SentBatch
from serve_deployments.change_requests import parse
from serve_deployments.control import Control
from serve_deployments.metrics import Tally
from serve_deployments.report import Report
from serve_deployments.schemas import ControlArgs

CHAMPION, CHALLENGER = (place({}, version=version, bundle_uri=f"/{version}") for version in "12")
LIVE = added(replaced(TrafficFile(revision=6), "colours", CHAMPION), CHALLENGER, 50)


class Deployment:
    """In place of the cluster: makes the change, unless it fails or waits."""

    def __init__(self) -> None:
        self.failure: MantaError | None = None
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.options: dict[str, Any] = {}

    def change(self, _client: object, _home: Home, make: Callable[..., TrafficFile], **options: Any) -> TrafficFile:
        self.options = options
        self.may_go_on.wait(10)
        if self.failure is not None:
            raise self.failure
        return make(LIVE, {}).after(LIVE)


@pytest.fixture
def deployment(monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    deployment = Deployment()
    monkeypatch.setattr(control_module, "change", deployment.change)
    monkeypatch.setattr(control_module, "_dashboard_url", lambda: "http://127.0.0.1:1")
    yield deployment
    deployment.may_go_on.set()


@pytest.fixture
def control(home: Home, deployment: Deployment) -> Iterator[Control]:
    control = Control(ControlArgs(answer_after_s=5.0))
    control._traffic = LIVE
    yield control
    control._store.close()
    control._serve.close()


@pytest.mark.parametrize(
    ("kind", "values", "error", "message"),
    [
        ("weights", {"percent": {"2": 5}, "revision": LIVE.revision - 1}, "Conflict", "look again and repeat"),
        ("weights", {"percent": {"9": 5}}, "NotFound", "version 9 is not deployed"),
        ("weights", {"percent": {"2": 101}}, "BadInput", "0 to 100"),
        ("promote", {"version": "1"}, "BadInput", "champion already"),
        *(
            (kind, {**values, "model": "cats"}, "BadInput", "the service has versions of colours; cats needs")
            for kind, values in (
                ("promote", {"version": "2"}),
                ("undeploy", {"version": "2"}),
                ("weights", {"percent": {"2": 5}}),
                ("shadow", {"version": "2"}),
                ("traffic", {"percent": {"2": 5}}),
                ("deploy", {"version": "3", "bundle_uri": "/3"}),
                ("rollback", {}),
            )
        ),
    ],
)
async def test_what_is_wrong_with_a_request_is_said_at_once(
    control: Control, kind: str, values: dict[str, Any], error: str, message: str
) -> None:
    reply = await control.change(kind, values)
    assert reply["error"] == error
    assert message in reply["message"]


def test_a_service_without_versions_takes_any_model() -> None:
    deploy = parse("deploy", {"version": "1", "bundle_uri": "/1", "model": "cats"})
    assert deploy.make(TrafficFile(model="colours"), {}).model == "cats"


async def test_a_change_is_an_operation(control: Control) -> None:
    reply = await control.change("weights", {"percent": {"2": 5}, "revision": LIVE.revision, "model": "colours"})
    operation = reply["result"]
    assert (operation["state"], operation["percent"]) == ("done", {"1": 95, "2": 5})
    assert await control.operation(operation["id"]) == reply
    assert (await control.operation("another"))["error"] == "NotFound"


def report_of(router: str, revision: int, problem: str | None = None) -> Report:
    return Report(router, revision, problem, Tally(), {}, {}, {}, [])


async def test_a_change_is_done_when_every_router_follows_it(control: Control) -> None:
    await control.report(report_of("a", LIVE.revision))
    change = asyncio.create_task(control.change("weights", {"percent": {"2": 5}}))
    done, _ = await asyncio.wait([change], timeout=0.5)
    assert not done
    await control.report(report_of("a", LIVE.revision + 1))
    operation = (await change)["result"]
    assert operation["state"] == "done"
    assert "warning" not in operation


async def test_routers_that_do_not_follow_a_change_are_named(control: Control) -> None:
    control._args = ControlArgs(take_up_s=0.2)
    await control.report(report_of("a", LIVE.revision + 1))
    await control.report(report_of("b", LIVE.revision, "classifier-2 does not answer"))
    operation = (await control.change("weights", {"percent": {"2": 5}}))["result"]
    assert operation["state"] == "done"
    assert operation["warning"] == f"router b is at revision {LIVE.revision}: classifier-2 does not answer"


async def test_a_change_that_comes_too_late_is_none(control: Control) -> None:
    """Whoever asked was told that it failed, and has perhaps asked again: a rollback twice is none."""
    reply = await control.change("weights", {"percent": {"2": 5}}, time.time() - 1)
    assert reply["error"] == "Conflict"
    assert control._traffic == LIVE


async def test_a_version_that_runs_keeps_its_share_and_gets_its_replicas(
    control: Control, deployment: Deployment
) -> None:
    values = {"version": "2", "bundle_uri": "/2", "replicas": "1:4"}
    operation = (await control.change("deploy", values))["result"]
    assert operation["percent"] == {"1": 50, "2": 50}
    assert deployment.options["version"] == "2"
    assert deployment.options["scale"].replicas == Replicas(1, 4)


def test_a_rollback_goes_to_the_champion_before_though_the_registry_knows_nothing(home: Home) -> None:
    """The promotion log is written by the registry, which may have been away."""
    traffic = promoted(LIVE, "2")
    assert parse("rollback", {}).make(traffic, {}).champion == traffic["1"].model_copy(
        update={"weight": 100.0, "aliases": ("champion",)}
    )
    with pytest.raises(NotFound, match="knows of no champion before"):
        parse("rollback", {}).make(removed(traffic, "1"), {})


async def test_the_registry_follows_when_it_is_back(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    away, promoted_in_registry = True, []

    async def promote(_home: str, *promotion: str) -> None:
        if away:
            raise ClusterError("the registry is away")
        promoted_in_registry.append(promotion)

    monkeypatch.setattr(control_module, "_promote", SimpleNamespace(remote=promote))
    operation = (await control.change("promote", {"version": "2", "who": "ann", "why": "better"}))["result"]
    assert "the registry's champion is not moved yet: the registry is away" in operation["warning"]
    with pytest.raises(ClusterError):
        await control._registry.catch_up(("colours", "2"))
    away = False
    await control._registry.catch_up(("colours", "2"))
    await control._registry.catch_up(("colours", "2"))
    assert promoted_in_registry == [("colours", "2", "ann", "better")]


async def test_the_registry_follows_a_control_that_was_started_meanwhile(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    promoted_in_registry = []

    async def away(*_: str) -> None:
        raise ClusterError("the registry is away")

    async def there(_home: str, *promotion: str) -> None:
        promoted_in_registry.append(promotion)

    monkeypatch.setattr(control_module, "_promote", SimpleNamespace(remote=away))
    await control.change("promote", {"version": "2", "who": "ann", "why": "better"})
    successor = Control(ControlArgs())
    monkeypatch.setattr(control_module, "_promote", SimpleNamespace(remote=there))
    await successor._registry.catch_up(("colours", "2"))
    assert promoted_in_registry == [("colours", "2", "ann", "better")]
    successor._store.close()


async def test_the_registry_does_not_follow_to_what_serves_no_longer(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody has put another version live since, and told the registry."""

    async def away(*_: str) -> None:
        raise ClusterError("the registry is away")

    async def must_not(*_: str) -> None:
        raise AssertionError

    monkeypatch.setattr(control_module, "_promote", SimpleNamespace(remote=away))
    await control.change("promote", {"version": "2"})
    monkeypatch.setattr(control_module, "_promote", SimpleNamespace(remote=must_not))
    await control._registry.catch_up(("colours", "3"))
    await control._registry.catch_up(("colours", "2"))


async def test_a_registry_that_hangs_is_given_up_for_now(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled: list[object] = []
    monkeypatch.setattr("serve_deployments.registry_follower.PATIENCE_S", 0.05)
    monkeypatch.setattr(control_module, "_promote", SimpleNamespace(remote=lambda *_: asyncio.Event().wait()))
    monkeypatch.setattr("serve_deployments.control.ray.cancel", lambda reference, **_: cancelled.append(reference))
    operation = (await control.change("promote", {"version": "2"}))["result"]
    assert "is not moved yet: it did not answer in 0 s" in operation["warning"]
    assert len(cancelled) == 1


async def test_a_version_that_the_registry_does_not_know_is_not_tried_again(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def promote(*_: str) -> None:
        raise NotFound("colours/2 is not registered")

    monkeypatch.setattr(control_module, "_promote", SimpleNamespace(remote=promote))
    assert "not registered" in (await control.change("promote", {"version": "2"}))["result"]["warning"]
    await control._registry.catch_up(("colours", "2"))


async def test_a_service_that_fails_is_a_failed_operation(control: Control, deployment: Deployment) -> None:
    deployment.failure = ClusterError("classifier-2 did not start: self-test")
    operation = (await control.change("weights", {"percent": {"2": 5}}))["result"]
    assert (operation["state"], operation["error"]) == ("failed", "ClusterError")
    assert "self-test" in operation["message"]


async def test_what_turns_out_later_is_told_by_the_operation(
    home: Home, deployment: Deployment, control: Control
) -> None:
    control._args = ControlArgs(answer_after_s=0.01)
    deployment.may_go_on.clear()
    operation = (await control.change("weights", {"percent": {"2": 5}, "revision": 1}))["result"]
    assert operation["state"] == "running"
    deployment.may_go_on.set()
    await asyncio.gather(*control._tasks)
    found = (await control.operation(operation["id"]))["result"]
    assert (found["state"], found["error"]) == ("failed", "Conflict")


async def test_statistics_of_all_routers(control: Control) -> None:
    for router in "ab":
        statistics = BatchStatistics()
        statistics.add(SentBatch(3, [0.001, 0.002], 0.01, answered=True))
        await control.report(Report(router, 1, None, Tally(), {}, {"1": statistics}, {}, []))
    found = (await control.statistics())["result"]
    assert {version: each.items for version, each in found.items()} == {"1": 6}
