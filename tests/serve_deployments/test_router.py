"""The router without Serve: bad traffic files change nothing, and a version waits until it is warm."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.artifact import InputSpec
from app.errors import BadImage, BadInput, ClusterError, NotFound, Overloaded
from app.imaging import RESIZE_RULE, encode_png
from serve_deployments import fleet as fleet_module
from serve_deployments.assignment import Caller
from serve_deployments.classifier_client import ClassifierClient
from serve_deployments.http_api import Classified
from serve_deployments.reporter import Noted
from serve_deployments.router import Service
from serve_deployments.schemas import RouterArgs
from serve_deployments.served_version import most_waiting
from tests.bundles import write_colour_bundle
from tests.serve_deployments.applications import Applications, FakeClient
from tests.serve_deployments.fakes import colour_png
from tests.waiting import until

ANYBODY = Caller("request")


@pytest.fixture
def applications(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Applications:
    deployed = Applications(tmp_path)

    async def connect(application: str, *, retries: int) -> FakeClient:
        if application not in deployed.clients:
            raise ClusterError(f"application {application} is not deployed")
        return deployed.clients[application]

    monkeypatch.setattr(ClassifierClient, "connect", connect)
    monkeypatch.setattr(fleet_module, "SWITCH_WAIT_S", 0.5)
    monkeypatch.setattr(fleet_module, "RETRY_S", 0.01)
    monkeypatch.setattr(fleet_module, "COUNT_INTERVAL_S", 0.01)
    return deployed


@pytest.fixture
async def service(applications: Applications) -> AsyncIterator[Service]:
    service = Service(RouterArgs(call_timeout_s=2.0))
    yield service
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def answered_by(service: Service, channel: int = 1) -> str:
    answer = await service.classify([colour_png(channel)], ANYBODY)
    (row,) = answer.rows
    assert isinstance(row, Classified)
    assert answer.labels[int(row.probabilities.argmax())] == ("red", "green", "blue")[channel]
    return answer.version


async def test_without_traffic_it_answers_that_nothing_is_deployed(service: Service) -> None:
    await service.fleet.apply({"revision": 0, "model": "colours", "versions": []})
    with pytest.raises(ClusterError, match="no model"):
        await service.classify([colour_png(0)], ANYBODY)
    with pytest.raises(ClusterError, match="no model"):
        service.model_info()
    assert service.readiness().reason == "no model is deployed yet"


async def test_a_version_is_warm_before_it_answers(service: Service, applications: Applications) -> None:
    client = applications.deploy("1")
    await service.fleet.apply(applications.traffic(1, **{"1": 1}))
    assert client.calls == [1]
    assert service.readiness().reason is None
    assert await answered_by(service) == "1"
    assert service.model_info()["versions"][0]["running_replicas"] == 1


async def test_what_was_sent_counts_for_the_demand(service: Service, applications: Applications) -> None:
    """Over all versions, and without what failed."""
    client = applications.deploy("1")
    applications.deploy("2")
    await service.fleet.apply(applications.traffic(1, **{"1": 1, "2": 0}))
    for version in ("1", "2"):
        await service.classify([colour_png(0)] * 3, Caller("request", version=version))
    client.failure = ClusterError("lost")
    with pytest.raises(ClusterError):
        await service.classify([colour_png(0)], ANYBODY)
    sent = service.batches()
    assert (sent.count, sent.total) == (2, 6)


async def test_bad_images_keep_their_place(service: Service, applications: Applications) -> None:
    applications.deploy("1")
    await service.fleet.apply(applications.traffic(1, **{"1": 1}))
    answer = await service.classify([b"no", colour_png(2), b"", colour_png(0, 30, 40)], ANYBODY)
    kinds = [type(row) for row in answer.rows]
    assert kinds == [BadImage, Classified, BadImage, Classified]
    rows = [row for row in answer.rows if isinstance(row, Classified)]
    assert [int(row.probabilities.argmax()) for row in rows] == [2, 0]
    assert rows[1].image_shape == (30, 40, 3)


@pytest.mark.parametrize("bad", [{}, {"revision": "x"}, {"versions": 3}, {"versions": [{"version": "9"}]}])
async def test_a_bad_file_changes_nothing(service: Service, applications: Applications, bad: dict[str, Any]) -> None:
    applications.deploy("1")
    await service.fleet.apply(applications.traffic(1, **{"1": 1}))
    await service.fleet.apply({"revision": 2, **bad} if bad else {"unknown": 1})
    assert service.fleet.traffic.revision == 1
    assert await answered_by(service) == "1"
    readiness = service.readiness()
    assert readiness.reason is None  # it still answers, and says what is wrong
    assert "not valid" in str(readiness.details["problem"])


async def test_a_bad_first_file_is_the_reason_not_to_be_ready(service: Service) -> None:
    await service.fleet.apply({"versions": 3})
    assert "not valid" in str(service.readiness().reason)


async def test_a_version_that_is_not_there_gets_no_traffic(service: Service, applications: Applications) -> None:
    """The former file stays until every version with a weight answers; then the new one takes effect by itself."""
    applications.deploy("1")
    await service.fleet.apply(applications.traffic(1, **{"1": 1}))
    write_colour_bundle(applications.root / "2")
    await service.fleet.apply(applications.traffic(2, **{"2": 1, "1": 0}))
    assert await answered_by(service) == "1"
    assert "classifier-2 is not deployed" in str(service.readiness().details["problem"])
    applications.deploy("2")
    await until(lambda: service.fleet.traffic.revision == 2)
    assert await answered_by(service) == "2"
    assert service.readiness().details["problem"] is None


async def test_a_router_without_a_former_file_begins_with_the_champion(
    service: Service, applications: Applications, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that starts while a challenger is away: nobody would be answered until that comes back."""
    monkeypatch.setattr(fleet_module, "MISSING_RETRY_S", 0.01)
    applications.deploy("1")
    for missing in "23":
        write_colour_bundle(applications.root / missing)
    started = time.monotonic()
    await service.fleet.apply(applications.traffic(1, **{"1": 0.01, "2": 1, "3": 0}))
    assert await answered_by(service) == "1"
    assert service.readiness().reason is None
    assert "the champion stands in for 2" in str(service.readiness().details["problem"])
    applications.deploy("3")
    await until(lambda: len(service.fleet.versions) == 2)
    assert (await service.classify([colour_png(0)], Caller("r", version="3"))).version == "3"
    applications.deploy("2")
    await until(lambda: service.readiness().details["problem"] is None)
    assert await answered_by(service) == "2"
    assert time.monotonic() - started < 20


async def test_a_challenger_that_never_came_does_not_hold_a_later_file_back(
    service: Service, applications: Applications
) -> None:
    """The champion stands in for it before and after: a rollback would wait for nothing."""
    for version in "13":
        applications.deploy(version)
    write_colour_bundle(applications.root / "2")
    await service.fleet.apply(applications.traffic(1, **{"3": 90, "2": 10, "1": 0}))
    assert service.fleet.traffic.revision == 1
    await service.fleet.apply(applications.traffic(2, **{"1": 90, "2": 10, "3": 0}))
    assert service.fleet.traffic.revision == 2
    assert await answered_by(service) == "1"


async def test_a_suspended_version_gets_no_users_until_it_is_not(service: Service, applications: Applications) -> None:
    """Control has seen that it breaks a guardrail; the traffic file takes longer to change."""
    for version in "12":
        applications.deploy(version)
    await service.fleet.apply(applications.traffic(1, **{"1": 0.001, "2": 1000}))
    assert await answered_by(service) == "2"
    service.fleet.suspend({"classifier-2"})
    assert await answered_by(service) == "1"
    assert service.tally.counters["manta_fallbacks", ("2", "suspended")] == 1
    assert (await service.classify([colour_png(0)], Caller("r", version="2"))).version == "2", "who asks for it gets it"
    service.fleet.suspend(())
    assert await answered_by(service) == "2"


async def test_a_missing_or_damaged_bundle_is_named(service: Service, applications: Applications) -> None:
    applications.deploy("1")
    (applications.root / "1" / "manifest.json").unlink()
    await service.fleet.apply(applications.traffic(1, **{"1": 1}))
    assert "manifest.json is missing" in str(service.readiness().reason)


async def test_a_replica_with_other_labels_is_refused(service: Service, applications: Applications) -> None:
    applications.deploy("1")
    other = applications.deploy("2", labels=("red", "green", "blue", "black"))
    applications.clients["classifier-1"] = other
    await service.fleet.apply(applications.traffic(1, **{"1": 1}))
    assert "4 probabilities for 3 labels" in str(service.readiness().reason)


async def test_a_replica_that_fails_the_self_test_gets_no_traffic(service: Service, applications: Applications) -> None:
    applications.deploy("1")
    await service.fleet.apply(applications.traffic(1, **{"1": 1}))
    applications.deploy("2").shift = 1
    await service.fleet.apply(applications.traffic(2, **{"1": 0, "2": 1}))
    assert "the fp32 graph answers class 2" in str(service.readiness().details["problem"])
    assert {await answered_by(service) for _ in range(3)} == {"1"}


async def test_a_newer_file_replaces_one_that_waits(service: Service, applications: Applications) -> None:
    applications.deploy("1")
    write_colour_bundle(applications.root / "2")
    await service.fleet.apply(applications.traffic(1, **{"2": 1}))
    waiting = service.fleet._switch
    await service.fleet.apply(applications.traffic(2, **{"1": 1}))
    assert waiting is not None
    assert waiting.cancelled()
    assert await answered_by(service) == "1"


async def test_an_unneeded_version_does_not_hold_up_the_others(service: Service, applications: Applications) -> None:
    applications.deploy("1")
    await service.fleet.apply(applications.traffic(1, **{"1": 1, "gone": 0}))
    assert await answered_by(service) == "1"
    assert [version["version"] for version in service.model_info()["versions"]] == ["1"]


async def test_weights_change_without_reopening(service: Service, applications: Applications) -> None:
    first, second = applications.deploy("1"), applications.deploy("2")
    await service.fleet.apply(applications.traffic(1, **{"1": 1, "2": 0}))
    before = service.fleet["1"]
    await service.fleet.apply(applications.traffic(2, **{"1": 0, "2": 1}))
    assert service.fleet["1"] is before
    assert await answered_by(service) == "2"
    assert (first.calls, second.calls) == ([1], [1, 1])
    assert [version["weight"] for version in service.model_info()["versions"]] == [0, 1]


async def test_without_replicas_requests_wait_and_the_service_is_not_ready(
    service: Service, applications: Applications
) -> None:
    client = applications.deploy("1")
    await service.fleet.apply(applications.traffic(1, **{"1": 1}))
    client.replicas = 0
    service.fleet["1"].count_places()
    assert "no replica of version 1" in str(service.readiness().reason)
    waiting = asyncio.create_task(answered_by(service))
    await until(lambda: service.fleet["1"].batcher.queued == 1)
    client.replicas = 2  # the router finds out by itself
    assert await waiting == "1"


async def test_failures_of_the_model_reach_only_their_callers(service: Service, applications: Applications) -> None:
    client = applications.deploy("1")
    await service.fleet.apply(applications.traffic(1, **{"1": 1}))
    client.failure = ClusterError("classifier-1: every replica that was tried was lost")
    with pytest.raises(ClusterError, match="lost"):
        await service.classify([colour_png(0)], ANYBODY)
    client.failure = None
    assert await answered_by(service) == "1"


async def two_versions(service: Service, applications: Applications, **changes: Any) -> tuple[FakeClient, FakeClient]:
    """Version 1 is the champion; version 2 has all users, unless `changes` say otherwise."""
    champion, challenger = applications.deploy("1"), applications.deploy("2")
    file = applications.traffic(1, **{"1": 0, "2": 1})
    await service.fleet.apply({**file, **changes})
    return champion, challenger


def counted(service: Service, name: str, *labels: str) -> float:
    return service.tally.counters.get((name, labels), 0)


async def test_the_champion_answers_for_a_challenger_that_fails(service: Service, applications: Applications) -> None:
    _, challenger = await two_versions(service, applications)
    assert await answered_by(service) == "2"
    challenger.failure = ClusterError("every replica that was tried was lost")
    for _ in range(8):
        assert await answered_by(service) == "1"
    assert counted(service, "manta_requests", "2", "challenger", "error") == 5, "then the breaker is open"
    assert counted(service, "manta_fallbacks", "2", "breaker open") == 3
    assert counted(service, "manta_breaker_opened", "2") == 1
    assert "lost" in str(service.model_info()["versions"][1]["taken_out"])
    assert "lost" in service.report("router", Noted([], [])).taken_out["2"]


async def test_a_challenger_that_is_taken_out_is_tried_again(
    service: Service, applications: Applications, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, challenger = await two_versions(service, applications)
    challenger.failure = ClusterError("lost")
    for _ in range(6):
        await answered_by(service)
    challenger.failure = None
    assert await answered_by(service) == "1"
    monkeypatch.setattr(service.fleet["2"].breaker, "_clock", lambda: time.monotonic() + 60)
    assert [await answered_by(service) for _ in range(3)] == ["2", "2", "2"]


async def test_the_champion_answers_for_a_challenger_that_is_too_slow(applications: Applications) -> None:
    service = Service(RouterArgs(challenger_timeout_s=0.05))
    _, challenger = await two_versions(service, applications)
    challenger.holds = asyncio.Event()
    assert await answered_by(service) == "1"
    assert counted(service, "manta_requests", "2", "challenger", "timeout") == 1
    assert counted(service, "manta_fallbacks", "2", "timeout") == 1
    challenger.holds.set()


async def test_a_pinned_version_has_nobody_to_answer_for_it(service: Service, applications: Applications) -> None:
    _, challenger = await two_versions(service, applications)
    pinned = Caller("request", version="2")
    assert (await service.classify([colour_png(0)], pinned)).version == "2"
    challenger.failure = ClusterError("lost")
    with pytest.raises(ClusterError, match="lost"):
        await service.classify([colour_png(0)], pinned)


async def test_a_client_that_leaves_says_nothing_of_the_challenger(
    service: Service, applications: Applications
) -> None:
    _, challenger = await two_versions(service, applications)
    challenger.holds = asyncio.Event()
    waiting = [asyncio.create_task(answered_by(service)) for _ in range(8)]
    await until(lambda: service.fleet["2"].batcher.in_flight > 0)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert not service.fleet["2"].breaker.is_open
    assert counted(service, "manta_requests", "2", "challenger", "cancelled") == 8
    challenger.holds.set()


QUALITY = {
    "fast": "1",
    "accurate": "2",
    "auto": {"fast": "1", "accurate": "2", "threshold": 0.9},
    "ensemble": {"1": 3, "2": 1},
}


async def test_the_cascade_asks_the_accurate_version_only_when_unsure(
    service: Service, applications: Applications
) -> None:
    fast, accurate = await two_versions(service, applications, quality=QUALITY)
    grey = encode_png(np.full((8, 8, 3), 100, np.uint8))
    fast.calls, accurate.calls = [], []
    answer = await service.classify([colour_png(0), grey, colour_png(2)], Caller("r", quality="auto"))
    rows = [row for row in answer.rows if isinstance(row, Classified)]
    assert [row.version for row in rows] == ["1", "2", "1"]
    assert (fast.calls, accurate.calls) == ([3], [1])
    assert answer.version == "1+2"
    assert counted(service, "manta_cascade", "fast") == 2
    assert counted(service, "manta_cascade", "accurate") == 1


async def test_without_the_accurate_version_the_cascade_still_answers(
    service: Service, applications: Applications
) -> None:
    _, accurate = await two_versions(service, applications, quality=QUALITY)
    accurate.failure = ClusterError("lost")
    grey = encode_png(np.full((8, 8, 3), 100, np.uint8))
    assert (await service.classify([grey], Caller("r", quality="auto"))).version == "1"


async def test_nobody_is_asked_about_an_image_that_cannot_be_read(service: Service, applications: Applications) -> None:
    """Nor does a version that fails get well by answering nothing."""
    applications.deploy("1")
    challenger = applications.deploy("2")
    file = applications.traffic(1, **{"1": 1, "2": 1})
    await service.fleet.apply({**file, "quality": {"ensemble": {"1": 3, "2": 1}}})
    before = set(service.tally.counters)
    answer = await service.classify([b"no image"], Caller("r", quality="ensemble"))
    assert isinstance(answer.rows[0], BadImage)
    assert set(service.tally.counters) - before == {("manta_bad_images", ())}
    assert challenger.calls == [1], "its warm-up"


async def test_a_challenger_that_is_the_shadow_too_is_not_asked_twice(
    service: Service, applications: Applications
) -> None:
    _, challenger = await two_versions(service, applications, shadow={"version": "2", "share": 1.0})
    assert await answered_by(service) == "2"
    await asyncio.sleep(0.05)
    assert challenger.calls == [1, 1], "a warm-up, and the answer"


async def test_an_ensemble_is_the_weighted_mean_of_those_that_answer(
    service: Service, applications: Applications
) -> None:
    first, second = await two_versions(service, applications, quality=QUALITY)
    first.shift, second.shift = 0, 1  # the second sees the next colour
    (row,) = (await service.classify([colour_png(0)], Caller("r", quality="ensemble"))).rows
    assert isinstance(row, Classified)
    assert row.probabilities == pytest.approx([0.75, 0.25, 0], abs=1e-3)
    assert row.version == "1+2"
    second.failure = ClusterError("lost")
    assert (await service.classify([colour_png(0)], Caller("r", quality="ensemble"))).version == "1"


async def test_the_shadow_is_asked_and_never_heard(service: Service, applications: Applications) -> None:
    champion, shadow = applications.deploy("1"), applications.deploy("2")
    file = applications.traffic(1, **{"1": 1, "2": 0})
    await service.fleet.apply({**file, "shadow": {"version": "2", "share": 1.0}})
    assert await answered_by(service) == "1"
    await until(lambda: counted(service, "manta_shadow", "2", "agree") == 1)
    shadow.shift = 1
    assert await answered_by(service) == "1"
    await until(lambda: counted(service, "manta_shadow", "2", "disagree") == 1)
    shadow.failure = ClusterError("lost")
    assert await answered_by(service) == "1"
    await until(lambda: counted(service, "manta_shadow", "2", "error") == 1)
    assert champion.failure is None
    assert not service.fleet["2"].breaker.is_open


async def test_a_slow_shadow_slows_nobody_and_fills_no_memory(applications: Applications) -> None:
    service = Service(RouterArgs(max_shadow_images=3))
    applications.deploy("1")
    shadow = applications.deploy("2")
    file = applications.traffic(1, **{"1": 1, "2": 0})
    await service.fleet.apply({**file, "shadow": {"version": "2", "share": 1.0}})
    shadow.holds = asyncio.Event()
    for _ in range(10):
        assert await answered_by(service) == "1"
    assert counted(service, "manta_shadow", "2", "dropped") >= 7
    shadow.holds.set()


async def test_what_is_cached_is_not_asked_again(applications: Applications) -> None:
    service = Service(RouterArgs(cache_entries=10))
    client = applications.deploy("1")
    await service.fleet.apply(applications.traffic(1, **{"1": 1}))
    client.calls = []
    first = await service.classify([colour_png(0), b"no image", colour_png(1)], ANYBODY)
    again = await service.classify([colour_png(1), b"no image", colour_png(0)], ANYBODY)
    assert client.calls == [2]
    kinds = [type(row) for row in (*first.rows, *again.rows)]
    assert kinds == [Classified, BadImage, Classified] * 2
    assert [int(row.probabilities.argmax()) for row in again.rows if isinstance(row, Classified)] == [1, 0]
    assert counted(service, "manta_cache", "hit") == 2
    assert counted(service, "manta_cache", "miss") == 4


async def test_the_champions_answer_is_not_cached_as_the_challengers(applications: Applications) -> None:
    service = Service(RouterArgs(cache_entries=10))
    _, challenger = await two_versions(service, applications)
    challenger.failure = ClusterError("lost")
    assert await answered_by(service) == "1"
    challenger.failure = None
    assert await answered_by(service) == "2"


async def test_every_answer_is_logged_for_feedback(service: Service, applications: Applications) -> None:
    await two_versions(service, applications)
    await service.classify([colour_png(2), b"no image", colour_png(1)], Caller("r7"))
    logged = service.notes.answers.take()
    assert [(each.request_id, each.image_index, each.version, each.arm, each.class_id) for each in logged] == [
        ("r7", 0, "2", "challenger", 2),
        ("r7", 2, "2", "challenger", 1),
    ]


async def test_an_image_of_users_is_observed_now_and_then(service: Service, applications: Applications) -> None:
    """Not those of a caller who chose the version: they are not what users send."""
    await two_versions(service, applications)
    await service.classify([colour_png(2)], Caller("r1", version="1"))
    assert service.notes.observations.take() == []
    for _ in range(3):
        await service.classify([b"no image", colour_png(1)], ANYBODY)
    (seen,) = service.notes.observations.take()
    assert seen.bundle_uri == service.fleet["2"].spec.bundle_uri
    assert seen.prediction == 1
    assert seen.confidence > 0.99
    looks = [seen.brightness, seen.contrast, seen.saturation, seen.sharpness]
    assert looks == pytest.approx([0.587 * 255, 0, 255, 0], abs=0.01)


async def test_a_version_unlike_the_champion_does_not_get_in(service: Service, applications: Applications) -> None:
    applications.deploy("1")
    await service.fleet.apply(applications.traffic(1, **{"1": 1}))
    applications.deploy("2", labels=("cyan", "magenta", "yellow"))
    await service.fleet.apply(applications.traffic(2, **{"1": 1, "2": 1}))
    assert "other labels" in str(service.fleet.problem)
    assert service.fleet.traffic.revision == 1


def pure(*channels: int) -> np.ndarray:
    pixels = np.zeros((len(channels), 8, 8, 3), np.uint8)
    for index, channel in enumerate(channels):
        pixels[index, ..., channel] = 255
    return pixels


async def test_pixels_go_straight_to_the_batcher(service: Service, applications: Applications) -> None:
    client = applications.deploy("1")
    await service.fleet.apply(applications.traffic(1, **{"1": 1}))
    answer = await service.classify_pixels(pure(2, 0, 1), ANYBODY)
    assert client.calls == [1, 3]
    rows = [row for row in answer.rows if isinstance(row, Classified)]
    assert [int(row.probabilities.argmax()) for row in rows] == [2, 0, 1]
    assert rows[0].image_shape == (8, 8, 3)
    with pytest.raises(BadInput, match=r"takes images of shape \[8, 8, 3\], not \[9, 8, 3\]"):
        await service.classify_pixels(np.zeros((1, 9, 8, 3), np.uint8), ANYBODY)


async def test_pixels_are_assigned_degraded_copied_and_noted_as_files_are(
    service: Service, applications: Applications
) -> None:
    champion, challenger = await two_versions(service, applications, shadow={"version": "1", "share": 1.0})
    assert (await service.classify_pixels(pure(2, 0), Caller("r1"))).version == "2"
    await until(lambda: counted(service, "manta_shadow", "1", "agree") == 2)
    assert champion.calls == [1, 2], "a warm-up, and the copies"
    challenger.failure = ClusterError("lost")
    assert (await service.classify_pixels(pure(1), Caller("r2"))).version == "1"
    assert counted(service, "manta_fallbacks", "2", "error") == 1
    with pytest.raises(ClusterError, match="lost"):
        await service.classify_pixels(pure(1), Caller("r3", version="2"))
    logged = service.notes.answers.take()
    assert [(each.request_id, each.image_index, each.version, each.arm, each.class_id) for each in logged] == [
        ("r1", 0, "2", "challenger", 2),
        ("r1", 1, "2", "challenger", 0),
        ("r2", 0, "1", "stand_in", 1),
    ]


async def test_pixels_follow_the_user(service: Service, applications: Applications) -> None:
    applications.deploy("1")
    applications.deploy("2")
    await service.fleet.apply(applications.traffic(1, **{"1": 1, "2": 1}))
    for user in ("ann", "bob", "eve", "joe", "kim"):
        versions = {(await service.classify_pixels(pure(0), Caller(f"r{i}", user))).version for i in range(5)}
        versions.add((await service.classify([colour_png(0)], Caller("r", user))).version)
        assert len(versions) == 1, user
    anybody = {(await service.classify_pixels(pure(0), Caller(f"r{i}"))).version for i in range(40)}
    assert anybody == {"1", "2"}


async def test_a_version_asked_for_by_name_answers_whatever_its_weight(
    service: Service, applications: Applications
) -> None:
    applications.deploy("1")
    applications.deploy("2")
    await service.fleet.apply(applications.traffic(1, **{"1": 1, "2": 0}))
    by_name = Caller("request", version="2")
    assert (await service.classify([colour_png(0)], by_name)).version == "2"
    assert (await service.classify_pixels(pure(0), by_name)).version == "2"
    for version in ("3", "", "classifier-1"):
        with pytest.raises(NotFound, match="not deployed"):
            await service.classify_pixels(pure(0), Caller("request", version=version))


async def test_the_view_of_what_is_deployed(service: Service, applications: Applications) -> None:
    assert service.deployment().versions == ()
    applications.deploy("1")
    client = applications.deploy("2")
    await service.fleet.apply(applications.traffic(1, **{"1": 1, "2": 0}))
    await service.classify_pixels(pure(0, 1), Caller("request", version="2"))
    view = service.deployment()
    assert (view.model, view.champion) == ("colours", "1")
    assert [version.version for version in view.versions] == ["1", "2"]
    statistics = service.report("router", Noted([], [])).statistics
    assert {version: each.items for version, each in statistics.items()} == {"1": 0, "2": 2}, "a warm-up is not counted"
    assert view.find("colours").version == "1"
    assert view.find("colours", "2").problem is None
    client.replicas = 0
    assert service.deployment().find("colours", "2").problem == "no replica of version 2 runs"


async def test_at_overload_nothing_is_decoded_in_vain(
    applications: Applications, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(RouterArgs(max_queued_images=2, max_images=2))
    client = applications.deploy("1")
    await service.fleet.apply(applications.traffic(1, **{"1": 1}))
    client.holds = asyncio.Event()
    waiting = [asyncio.create_task(answered_by(service))]
    await until(lambda: service.fleet["1"].batcher.in_flight == 1)
    waiting += [asyncio.create_task(answered_by(service)) for _ in range(2)]
    await until(lambda: service.fleet["1"].batcher.queued == 2)

    async def decode(*_: object) -> list[object]:
        raise AssertionError("decoded in vain")

    with monkeypatch.context() as patch:
        patch.setattr(service._decoder, "decode", decode)
        with pytest.raises(Overloaded):
            await service.classify([colour_png(0)], ANYBODY)
    client.holds.set()
    assert await asyncio.gather(*waiting) == ["1", "1", "1"]


async def test_each_call_says_how_many_images_wait_for_its_replica(applications: Applications) -> None:
    service = Service(RouterArgs(max_batch=1, places_per_replica=1))
    client = applications.deploy("1")
    client.replicas = 2
    await service.fleet.apply(applications.traffic(1, **{"1": 1}))
    client.holds = asyncio.Event()
    client.waiting.clear()
    callers = [asyncio.create_task(answered_by(service)) for _ in range(7)]
    await until(lambda: service.fleet["1"].batcher.queued == 5)
    client.holds.set()
    await asyncio.gather(*callers)
    assert client.waiting[:2] == [2.5, 2.5]
    assert client.waiting[-1] == 0


@pytest.mark.parametrize(("side", "expected"), [(32, 4096), (224, 891), (1024, 256)])
def test_large_images_wait_in_smaller_numbers(side: int, expected: int) -> None:
    image = InputSpec(height=side, width=side, resize=RESIZE_RULE)
    assert most_waiting(RouterArgs(), image) == expected
