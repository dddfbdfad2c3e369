"""The Serve config that `manta serve --print-config` prints, on what runs already."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.cli import serve_commands
from app.cli.serve_commands import document_text, running_state, variant_of
from app.config import Home
from app.errors import ClusterError
from app.registry import ModelVersion
from app.replicas import Replicas
from app.traffic_changes import added, replaced
from app.traffic_file import TrafficFile
from cluster.serve_client import ServedApplication, ServeState
from cluster.serve_document import (
    Scale,
    classifier_application,
    configured,
    control_application,
    place,
    router_application,
    with_traffic,
)

NOTHING = ServeState(host=None, port=None, applications={})
FIRST, SECOND = (place({}, version=version, bundle_uri=f"/{version}", variant="int8") for version in "12")
LIVE = added(replaced(TrafficFile(revision=6), "pets", FIRST), SECOND, 10)


def version(number: str, name: str = "pets") -> ModelVersion:
    return ModelVersion(
        name=name, version=number, bundle_uri=f"/{number}", run_id="", aliases=(), created=datetime.now(UTC), tags={}
    )


def served(applications: list[Mapping[str, Any]]) -> ServeState:
    found = {
        each["name"]: ServedApplication(
            name=each["name"], status="RUNNING", failure="", config=each, replicas=1, running_pids=(1,)
        )
        for each in applications
    }
    return ServeState(host="127.0.0.1", port=8123, applications=found, grpc_port=9123)


@pytest.fixture
def running() -> ServeState:
    """Versions 1 and 2, two routers and an option that was set, and somebody else's application."""
    router = configured(router_application(), Scale(routers=Replicas(2, 2)), {"cache_entries": 50})
    return served(
        [
            control_application(),
            with_traffic(router, LIVE),
            *(classifier_application(each) for each in LIVE.versions),
            {"name": "another", "import_path": "a:b"},
        ]
    )


def printed(state: ServeState, number: str, variant: str = "int8", **options: Any) -> dict[str, Any]:
    text = document_text(
        state, version(number), variant, options.pop("scale", Scale()), options.pop("port", None), options
    )
    document: dict[str, Any] = yaml.safe_load(text)
    document["applications"] = {each["name"]: each for each in document["applications"]}
    return document


def test_where_nothing_runs_it_is_a_service_of_one_version() -> None:
    document = printed(NOTHING, "1", "fp32")
    assert set(document["applications"]) == {"control", "router", "classifier-1"}
    assert document["http_options"]["port"] == 8000


def test_the_champion_itself_keeps_its_challengers_and_what_was_set(running: ServeState) -> None:
    document = printed(running, "1", scale=Scale(replicas=Replicas(3, 3)), log_requests=0.5)
    applications = document["applications"]
    assert set(applications) == {"control", "router", "classifier-1-int8", "classifier-2-int8", "another"}
    (router,) = applications["router"]["deployments"]
    assert router["num_replicas"] == 2
    assert (router["user_config"]["revision"], len(router["user_config"]["versions"])) == (7, 2)
    assert applications["router"]["args"] == {
        **router_application().get("args", {}),
        "cache_entries": 50,
        "log_requests": 0.5,
    }
    assert applications["classifier-1-int8"]["deployments"][0]["num_replicas"] == 3
    assert document["http_options"]["port"] == 8123
    assert document["grpc_options"]["port"] == 9123


def test_another_version_takes_all_the_traffic(running: ServeState) -> None:
    applications = printed(running, "3", "fp32")["applications"]
    assert set(applications) == {"control", "router", "classifier-3", "another"}
    assert applications["router"]["args"]["cache_entries"] == 50


def test_another_bundle_under_the_same_name_gets_another(running: ServeState) -> None:
    other = ModelVersion(
        name="cars", version="1", bundle_uri="/cars", run_id="", aliases=(), created=datetime.now(UTC), tags={}
    )
    document = yaml.safe_load(document_text(running, other, "int8", Scale(), None, {}))
    (name,) = (each["name"] for each in document["applications"] if each["name"].startswith("classifier-"))
    assert name.startswith("classifier-1-int8-")


def test_the_variant_stays_unless_another_is_asked_for(running: ServeState) -> None:
    assert variant_of(running, version("1")) == "int8"
    assert variant_of(running, version("2")) == "fp32", "it is a challenger"
    assert variant_of(running, version("1", "cars")) == "fp32"
    assert variant_of(NOTHING, version("1")) == "fp32"
    applications = printed(running, "1", "fp32")["applications"]
    assert applications["classifier-1"]["args"]["variant"] == "fp32"
    assert "classifier-2-int8" not in applications


def test_only_no_cluster_is_no_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path)
    monkeypatch.setattr(serve_commands, "named_address", lambda: None)
    assert running_state(home) == NOTHING
    monkeypatch.setattr(serve_commands, "named_address", lambda: "http://127.0.0.1:9")
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:9")
    with pytest.raises(ClusterError):
        running_state(home)
