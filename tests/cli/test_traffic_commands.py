"""The verbs that change who answers, as a user runs them, on a real cluster and with real versions."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from app.config import Home
from app.imaging import encode_png
from app.promotions import read_promotions
from app.registry import Registry
from cluster.local import LocalCluster
from cluster.ports import free_port
from cluster.serve_client import ServeClient
from tests.bundles import COLOURS, write_colour_bundle
from tests.cli.manta import assert_refused, manta, manta_here, manta_json
from tests.waiting import wait_for

MODEL = "paints"


@pytest.fixture(scope="module")
def home(cluster: LocalCluster, cluster_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Its registry has versions 1 and 2 of a model, and 3 with other labels."""
    registry, folder = Registry(cluster_home), tmp_path_factory.mktemp("made")
    for name, labels in (("1", COLOURS), ("2", COLOURS), ("3", ("cyan", "magenta", "yellow"))):
        manifest = write_colour_bundle(folder / name, name=MODEL, labels=labels, reference=held_out())
        registry.register(registry.start_run("made", {}), folder / name, manifest)
    return cluster_home


@pytest.fixture(scope="module")
def url(home: Home, cluster: LocalCluster) -> Iterator[str]:
    with contextlib.closing(ServeClient(cluster.dashboard_url)) as client:
        try:
            yield manta_json(home, "serve", f"{MODEL}/1", "--port", client.state().port or free_port())["url"]
        finally:
            client.shutdown()


def held_out() -> tuple[np.ndarray, np.ndarray]:
    """Images, and what a model may have answered to them."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (300, 8, 8, 3), dtype=np.uint8)
    return images, generator.dirichlet([1, 1, 1], 300).astype(np.float32)


def champion(home: Home) -> str:
    return Registry(home).resolve(f"{MODEL}@champion").version


def asked(url: str, *, user: str = "anybody") -> dict[str, Any]:
    """What this user is told of a red image."""
    image = encode_png(np.full((8, 8, 3), (255, 0, 0), np.uint8))
    headers = {"content-type": "image/png", "x-user-id": user}
    reply = httpx.post(f"{url}/predict", content=image, headers=headers, trust_env=False, timeout=30)
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


def test_a_release_from_first_users_to_promotion_and_back(home: Home, url: str) -> None:
    deployed = manta_json(home, "deploy", f"{MODEL}/2", "--weight", 10, "--why", "trial")
    assert deployed["percent"] == {"1": 90, "2": 10}
    assert manta_json(home, "traffic", "2=25%")["percent"] == {"1": 75, "2": 25}
    assert manta_json(home, "traffic")["percent"] == {"1": 75, "2": 25}

    for number in range(20):
        reply = asked(url, user=str(number))
        httpx.post(f"{url}/feedback", json={"request_id": reply["request_id"], "label": "red"}, trust_env=False)
    comparison = manta_json(home, "ab")
    assert [contrast["challenger"]["name"] for contrast in comparison["contrasts"]] == ["2"]
    shown = manta(home, "ab")
    assert shown.returncode == 0, shown.stderr
    assert "keep collecting" in shown.stdout

    assert manta_json(home, "promote", f"{MODEL}/2", "--why", "as good")["percent"] == {"1": 0, "2": 100}
    assert champion(home) == "2"
    assert asked(url)["model_version"] == "2"
    assert manta_json(home, "rollback", "--why", "complaints")["percent"] == {"1": 100, "2": 0}
    assert champion(home) == "1"
    assert asked(url)["model_version"] == "1"
    log = [(each.before, each.after, each.why) for each in read_promotions(home.promotion_log) if each.model == MODEL]
    assert log[-2:] == [("1", "2", "as good"), ("2", "1", "complaints")]
    assert manta_json(home, "undeploy", "2")["percent"] == {"1": 100}


def test_shadow_and_qualities(home: Home, url: str, tmp_path: Path) -> None:
    manta_json(home, "deploy", f"{MODEL}/2", "--shadow", 0.5)
    block = tmp_path / "cascade.yaml"
    block.write_text("quality:\n  auto: {fast: '2', accurate: '1', threshold: 0.8}\n")
    file = manta_json(home, "traffic", "--quality", block)["traffic"]
    assert file["shadow"] == {"version": "2", "share": 0.5}
    assert file["quality"]["auto"] == {"fast": "2", "accurate": "1", "threshold": 0.8}
    assert_refused(manta(home, "undeploy", "2"), 2, "version 2 answers a `quality`")
    assert manta_json(home, "traffic", "--shadow", "off")["traffic"]["shadow"] is None
    shown = manta(home, "traffic")
    assert "auto, fast" in shown.stdout


def test_monitor(home: Home, url: str) -> None:
    manta_json(home, "deploy", f"{MODEL}/2", "--weight", 30, "--why", "to be seen")
    for number in range(10):
        asked(url, user=str(number))
    seen = manta_json(home, "monitor", "--seconds", 1.5)
    assert {each["version"]: each["percent"] for each in seen["versions"]} == {"1": 70, "2": 30}
    assert seen["versions"][0]["replicas"] == 1
    assert seen["decisions"][0]["why"] == "to be seen"
    shown = manta(home, "monitor", "--seconds", 1)
    assert shown.returncode == 0, shown.stderr
    assert "version 2 is deployed at 30 %: to be seen" in shown.stdout
    assert manta_json(home, "traffic", "2=0")["percent"] == {"1": 100, "2": 0}
    assert_refused(manta(home, "monitor", "--watch", "--json"), 2, "leave out --watch")


def test_drift(home: Home, url: str) -> None:
    """What control writes down of it, and when, tests/serve_deployments/test_drift_watch.py holds."""

    def images() -> int:
        asked(url)
        return int(manta_json(home, "drift")["images"])

    wait_for(lambda: images() >= 2)
    found = manta_json(home, "drift")
    assert (found["model"], found["version"], found["reference_images"]) == (MODEL, "1", 300)
    shares = {each["name"]: each["live"] for each in found["measures"][0]["bins"]}
    assert shares == {"red": 1, "green": 0, "blue": 0}
    assert found["drifted"] == []
    shown = manta(home, "drift")
    assert shown.returncode == 0, shown.stderr
    assert "too few images yet to tell: 200 are needed" in shown.stdout
    assert "saturation" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("deploy", f"{MODEL}/3", "--weight", 5), 2, "other labels"),
        (("deploy", f"{MODEL}/9"), 3, "no version 9"),
        (("traffic", "7=5"), 3, "version 7 is not deployed"),
        (("traffic", "1=5"), 2, "has what the others leave"),
        (("traffic", "2=x"), 2, "no share"),
        (("traffic", "--shadow", "2=x"), 2, "no shadow"),
        (("promote", "1"), 2, "champion already"),
        (("undeploy", "1"), 2, "is the champion"),
        (("ab", "--url", "http://127.0.0.1:9"), 6, "no service answers"),
    ],
)
def test_what_is_refused(home: Home, url: str, arguments: tuple[object, ...], code: int, text: str) -> None:
    assert_refused(manta_here(home, *arguments), code, text)
