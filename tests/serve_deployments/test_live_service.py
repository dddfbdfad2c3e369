"""The life of a service on a real cluster: challengers, feedback, verdicts, guardrails, a control that is killed."""

from __future__ import annotations

import base64
import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.admin_client import AdminClient
from app.config import Home
from app.errors import BadInput, ClusterError, Conflict, NotFound
from cluster.deployment import put_live
from cluster.environment import read_admin_token
from cluster.local import LocalCluster
from cluster.ports import free_port
from cluster.serve_client import ServeClient
from tests.bundles import tamper, write_colour_bundle
from tests.serve_deployments.fakes import colour_png
from tests.waiting import wait_for

IMAGES = [colour_png(channel) for channel in range(3)]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Versions 1 and 2 are alike; 3 has other labels; 5 does not answer as it did when it was made."""
    folder = tmp_path_factory.mktemp("bundles")
    for version in "12":
        write_colour_bundle(folder / version)
    write_colour_bundle(folder / "3", labels=("cyan", "magenta", "yellow"))
    write_colour_bundle(folder / "5")
    tamper(folder / "5")
    return folder


@pytest.fixture(scope="module")
def url(cluster: LocalCluster, cluster_home: Home, bundles: Path) -> Iterator[str]:
    client = ServeClient(cluster.dashboard_url)
    yield put_live(client, cluster_home, "colours", version="1", bundle_uri=(bundles / "1").as_uri(), port=free_port())
    client.shutdown()
    client.close()


@pytest.fixture(scope="module")
def http(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def admin(url: str, cluster_home: Home) -> Iterator[AdminClient]:
    client = AdminClient(url, read_admin_token(cluster_home))
    wait_for(lambda: answers(client))
    yield client
    client.close()


@pytest.fixture(scope="module")
def challenger(admin: AdminClient, bundles: Path) -> str:
    # How quickly a busy machine answers is not what these tests are about; guardrails have their own.
    admin.change("guardrails", {"guardrails": {"max_p99_ratio": None}})
    admin.change("deploy", {"version": "2", "bundle_uri": (bundles / "2").as_uri(), "model": "colours", "weight": 50})
    return "2"


@pytest.fixture
def half(admin: AdminClient, challenger: str) -> None:
    """Whatever the tests before left: the challenger has half of the traffic."""
    give(admin, challenger, 50)


@pytest.fixture
def most(admin: AdminClient, challenger: str) -> None:
    """The challenger has 80 % of the traffic."""
    give(admin, challenger, 80)


def give(admin: AdminClient, version: str, percent: float) -> None:
    """A change that changes nothing would begin the comparison anew."""
    if admin.get("traffic")["percent"][version] != percent:
        admin.change("weights", {"percent": {version: percent}})


def answers(admin: AdminClient) -> bool:
    try:
        admin.get("traffic")
    except ClusterError:
        return False
    return True


def predict(http: httpx.Client, number: int, **headers: str) -> httpx.Response:
    reply = http.post(
        "/predict",
        content=IMAGES[number % 3],
        headers={"content-type": "image/png", "x-user-id": f"user {number}", **headers},
    )
    assert reply.status_code == 200, reply.text
    assert reply.json()["predictions"][0]["class_id"] == number % 3
    return reply


def versions(http: httpx.Client, users: int = 60) -> Counter[str]:
    return Counter(predict(http, number).json()["model_version"] for number in range(users))


def samples(http: httpx.Client) -> dict[str, float]:
    reply = http.get("/metrics")
    assert reply.status_code == 200, reply.text
    return {
        f"{sample.name} {' '.join(sorted(sample.labels.values()))}".strip(): sample.value
        for family in text_string_to_metric_families(reply.text)
        for sample in family.samples
    }


def test_a_challenger_joins_with_its_share(http: httpx.Client, admin: AdminClient, half: None) -> None:
    found = versions(http)
    assert set(found) == {"1", "2"}
    assert found["2"] == pytest.approx(30, abs=15)
    first = {number: predict(http, number).json()["model_version"] for number in range(30)}
    again = {number: predict(http, number).json()["model_version"] for number in range(30)}
    assert first == again
    state = admin.get("traffic")
    assert state["percent"] == {"1": 50, "2": 50}
    assert predict(http, 0, **{"x-model-version": "2"}).json()["model_version"] == "2"


def test_versions_that_differ_are_refused(admin: AdminClient, half: None, bundles: Path) -> None:
    with pytest.raises(BadInput, match="other labels"):
        admin.change("deploy", {"version": "3", "bundle_uri": (bundles / "3").as_uri(), "weight": 5})
    with pytest.raises(NotFound):
        admin.change("deploy", {"version": "9", "bundle_uri": (bundles / "9").as_uri(), "weight": 5})
    with pytest.raises(BadInput, match="wieght"):
        admin.change("weights", {"percent": {"2": 5}, "wieght": 1})
    with pytest.raises(Conflict):
        admin.change("weights", {"percent": {"2": 5}, "revision": 1})
    assert admin.get("traffic")["percent"] == {"1": 50, "2": 50}


def test_a_version_that_fails_its_self_test_is_not_deployed(
    http: httpx.Client, admin: AdminClient, half: None, bundles: Path
) -> None:
    before = admin.get("traffic")["traffic"]
    with pytest.raises(ClusterError, match=r"classifier-5 did not start: .*self-test: the fp32 graph answers class 0"):
        admin.change("deploy", {"version": "5", "bundle_uri": (bundles / "5").as_uri(), "weight": 50})
    assert admin.get("traffic")["traffic"] == before
    assert set(versions(http, 12)) == {"1", "2"}


def test_a_ramp_keeps_whom_it_may(http: httpx.Client, admin: AdminClient, half: None) -> None:
    before = {number: predict(http, number).json()["model_version"] for number in range(60)}
    admin.change("weights", {"percent": {"2": 80}})
    wait_for(lambda: admin.get("traffic")["routers"][0]["revision"] == admin.get("traffic")["traffic"]["revision"])
    after = {number: predict(http, number).json()["model_version"] for number in range(60)}
    assert {after[number] for number, version in before.items() if version == "2"} == {"2"}
    assert Counter(after.values())["2"] > Counter(before.values())["2"]


def test_feedback_becomes_a_comparison(http: httpx.Client, admin: AdminClient, most: None) -> None:
    """Version 2 is told that it is mostly wrong. Nobody has looked at the comparison before."""
    for number in range(120):
        reply = predict(http, number).json()
        wrong = reply["model_version"] == "2" and number % 4
        label = (number + (1 if wrong else 0)) % 3
        told = http.post("/feedback", json={"request_id": reply["request_id"], "label": label})
        assert told.status_code in (200, 202), told.text
    wait_for(lambda: admin.get("ab")["contrasts"][0]["challenger"]["n"] > 50)
    wait_for(lambda: admin.get("ab")["champion"]["n"] > 10)
    contrast = admin.get("ab")["contrasts"][0]
    assert contrast["verdict"] == "challenger worse", contrast
    assert contrast["p_value"] < 0.05


def test_metrics_speak_for_the_whole_service(http: httpx.Client, most: None) -> None:
    before, asked = samples(http), versions(http)
    counted = {
        "manta_requests_total 1 champion ok": asked["1"],
        "manta_requests_total 2 challenger ok": asked["2"],
        "manta_images_total 2 challenger": asked["2"],
        "manta_http_requests_total /predict 200": asked.total(),
    }
    assert min(counted.values()) > 0

    def all_counted() -> bool:
        now = samples(http)
        return all(now.get(name, 0) >= before.get(name, 0) + count for name, count in counted.items())

    wait_for(all_counted)
    found = samples(http)
    assert found["manta_request_seconds_count 2 challenger"] == found["manta_requests_total 2 challenger ok"]
    assert found["manta_routers"] == 1
    assert found["manta_classifier_replicas 2"] == 1
    assert found["manta_version_weight 2 challenger"] == 80
    assert found["manta_router_resident_memory_bytes"] < 512e6


def test_control_that_is_killed_comes_back_with_what_it_knew(
    cluster: LocalCluster, http: httpx.Client, admin: AdminClient, challenger: str
) -> None:
    name = "manta_requests_total 1 champion ok"
    versions(http)
    wait_for(lambda: samples(http).get(name, 0) > 0)
    before, known = samples(http), admin.get("ab")
    client = ServeClient(cluster.dashboard_url)
    details = client._dashboard.get("/api/serve/applications/")["applications"]["control"]
    (pid,) = [replica["pid"] for each in details["deployments"].values() for replica in each["replicas"]]
    os.kill(pid, signal.SIGKILL)
    for number in range(30):
        predict(http, number)  # it is not on the way of a request
    wait_for(lambda: answers(admin))
    client.close()
    assert admin.get("ab")["contrasts"][0]["challenger"]["n"] >= known["contrasts"][0]["challenger"]["n"]
    wait_for(lambda: samples(http).get(name, 0) >= before[name])


def test_a_promotion_and_back(http: httpx.Client, admin: AdminClient, challenger: str) -> None:
    done = admin.change("promote", {"version": "2", "why": "test"})
    assert "registry's champion is not moved yet" in done["warning"], "this version was never registered"
    assert done["percent"] == {"1": 0, "2": 100}
    wait_for(lambda: set(versions(http, 12)) == {"2"})
    admin.change("promote", {"version": "1", "why": "back"})
    wait_for(lambda: set(versions(http, 12)) == {"1"})
    decisions = admin.get("decisions")
    assert [decision["what"] for decision in decisions[:2]] == [
        "version 1 is promoted to champion",
        "version 2 is promoted to champion",
    ]
    assert decisions[0]["why"] == "back"


def test_a_challenger_that_breaks_a_guardrail_loses_its_traffic(
    http: httpx.Client, admin: AdminClient, challenger: str, bundles: Path
) -> None:
    """Its graph cannot be run on these images; nobody notices but the log of decisions."""
    broken = bundles / "4"
    write_colour_bundle(broken, black_only=True)
    admin.change("guardrails", {"guardrails": {"min_requests": 10, "window_s": 20}})
    admin.change("deploy", {"version": "4", "bundle_uri": broken.as_uri(), "weight": 50})
    number = 0

    def taken_out() -> bool:
        nonlocal number
        for _ in range(10):
            number += 1
            predict(http, number)
        return bool(admin.get("traffic")["percent"]["4"] == 0)

    wait_for(taken_out)
    decision = admin.get("decisions")[0]
    assert decision["who"] == "guardrail"
    assert "failed, more than 5.0%" in decision["why"]
    admin.change("undeploy", {"version": "4"})
    assert set(admin.get("traffic")["percent"]) == {"1", "2"}


def log_lines(cluster: LocalCluster) -> list[dict[str, Any]]:
    """Everything that the router's replicas logged."""
    files = Path(cluster.folder).glob("session_2*/logs/serve/replica_router_*.log")
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_failed_requests_are_in_the_log_without_their_images(cluster: LocalCluster, http: httpx.Client) -> None:
    image = IMAGES[0][:-4]
    for number in range(3):
        headers = {"content-type": "image/png", "x-request-id": f"broken-{number}"}
        assert http.post("/predict", content=image, headers=headers).headers["x-request-id"] == f"broken-{number}"

    def mine() -> list[dict[str, Any]]:
        return [line for line in log_lines(cluster) if line.get("request_id", "").startswith("broken-")]

    wait_for(lambda: len(mine()) == 3)
    assert [line["request_id"] for line in mine()] == ["broken-0", "broken-1", "broken-2"]
    for line in mine():
        assert (line["route"], line["status"], line["error"]) == ("/predict", 400, "BadImage")
        assert line["application"] == "router"
        assert line["ms"] > 0
    text = json.dumps(log_lines(cluster))
    assert base64.b64encode(image).decode()[:20] not in text
    assert "PNG" not in text


def test_service_options_are_set_without_losing_a_request(
    cluster: LocalCluster, cluster_home: Home, http: httpx.Client, url: str, bundles: Path
) -> None:
    def ask() -> None:
        number = 0
        with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
            while not over.is_set():
                try:
                    predict(client, number := number + 1)
                except (httpx.HTTPError, AssertionError) as error:
                    failures.append(error)

    over, failures = threading.Event(), list[Exception]()
    asking = threading.Thread(target=ask)
    asking.start()
    options = {"cache_entries": 100, "allow_origins": ["https://page.example"], "log_requests": 1.0}
    client = ServeClient(cluster.dashboard_url)
    port, uri = httpx.URL(url).port, (bundles / "1").as_uri()
    assert port is not None
    try:
        put_live(client, cluster_home, "colours", version="1", bundle_uri=uri, port=port, options=options)
        page = {"origin": "https://page.example"}
        wait_for(lambda: "access-control-allow-origin" in http.get("/health", headers=page).headers)
        predict(http, 1, **{"x-request-id": "seen-1"})
    finally:
        over.set()
        asking.join()
        client.close()
    assert failures == []
    wait_for(lambda: samples(http).get("manta_cache_total hit", 0) > 0)
    wait_for(lambda: any(line.get("request_id") == "seen-1" for line in log_lines(cluster)))
