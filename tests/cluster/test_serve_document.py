"""The document by itself: no cluster."""

from __future__ import annotations

from typing import Any

import pytest
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import ServeDeploySchema

from app.errors import ClusterError
from app.replicas import Replicas
from app.traffic_file import TrafficFile
from cluster.serve_document import (
    Scale,
    build_document,
    classifier_application,
    control_application,
    place,
    router_application,
    runs_version,
    scaled,
    traffic_of,
    with_traffic,
)
from serve_deployments.schemas import ClassifierArgs, ControlArgs, RouterArgs

CHAMPION = place({}, version="3", bundle_uri="file:///bundles/3", aliases=("champion",)).model_copy(
    update={"weight": 0.9}
)
CHALLENGER = place({}, version="4", bundle_uri="file:///bundles/4", aliases=("challenger",)).model_copy(
    update={"weight": 0.1}
)
TRAFFIC = TrafficFile(model="colours", versions=(CHAMPION, CHALLENGER), revision=7)


def test_serve_accepts_the_document() -> None:
    router = with_traffic(router_application(), TRAFFIC)
    classifiers = [classifier_application(served) for served in TRAFFIC.versions]
    document = build_document([router, *classifiers], host="127.0.0.1", port=8123)
    schema = ServeDeploySchema.model_validate(document)
    assert (schema.http_options.host, schema.http_options.port) == ("127.0.0.1", 8123)
    assert schema.grpc_options.grpc_servicer_functions == []
    routes = {application.name: application.route_prefix for application in schema.applications}
    assert routes == {"router": "/", "classifier-3": None, "classifier-4": None}


def test_the_builders_accept_what_the_document_says() -> None:
    """The two sides of the contract meet only in these dictionaries."""
    arguments = ClassifierArgs.model_validate(
        classifier_application(CHAMPION, Scale(replicas=Replicas(2, 2), threads=2))["args"]
    )
    assert (arguments.version, arguments.bundle_uri, arguments.threads) == ("3", "file:///bundles/3", 2)
    RouterArgs.model_validate(router_application()["args"])
    ControlArgs.model_validate(control_application()["args"])


def test_the_traffic_file_comes_back_out_of_the_router() -> None:
    assert traffic_of(with_traffic(router_application(), TRAFFIC)) == TRAFFIC
    with pytest.raises(ClusterError, match="no traffic file"):
        traffic_of(router_application())
    foreign = {"deployments": [{"user_config": {"revision": 1, "model": "x", "versions": [{"version": "1"}]}}]}
    with pytest.raises(ClusterError, match="not Manta's"):
        traffic_of(foreign)


def test_changed_traffic_changes_nothing_that_restarts_the_router() -> None:
    before, after = (
        with_traffic(router_application(), TrafficFile(model="m", revision=revision)) for revision in (1, 2)
    )
    assert before != after
    assert before["args"] == after["args"]
    without = [
        [{key: value for key, value in each.items() if key != "user_config"} for each in application["deployments"]]
        for application in (before, after)
    ]
    assert without[0] == without[1]


def test_another_variant_or_bundle_is_not_the_running_version() -> None:
    running = classifier_application(CHAMPION)
    assert runs_version(running, CHAMPION)
    int8 = place({}, version="3", bundle_uri=CHAMPION.bundle_uri, variant="int8")
    assert int8.application == "classifier-3-int8"
    assert not runs_version(running, int8)
    assert not runs_version(running, CHAMPION.model_copy(update={"bundle_uri": "file:///elsewhere/3"}))


def test_replicas_are_the_fragments_unless_given() -> None:
    assert classifier_application(CHAMPION)["deployments"][0]["num_replicas"] == 1
    assert classifier_application(CHAMPION, Scale(replicas=Replicas(3, 3)))["deployments"][0]["num_replicas"] == 3
    assert classifier_application(CHAMPION)["deployments"][0]["num_replicas"] == 1, "fragments are not shared"


def test_a_range_of_replicas_follows_the_load() -> None:
    """Also as Serve reads it, which imports the policy and calls it."""
    ranged = classifier_application(CHAMPION, Scale(replicas=Replicas(1, 4)))
    (deployment,) = ranged["deployments"]
    assert "num_replicas" not in deployment
    with pytest.warns(DeprecationWarning, match="metrics_interval_s"):  # the only setting of it that Ray 2.60 obeys
        config = AutoscalingConfig(**deployment["autoscaling_config"])
    assert (config.min_replicas, config.max_replicas) == (1, 4)
    assert config.upscale_delay_s < config.downscale_delay_s
    assert config.policy.get_policy().__name__ == "by_demand"
    (fixed,) = scaled(ranged, Replicas(2, 2))["deployments"]
    assert fixed["num_replicas"] == 2
    assert "autoscaling_config" not in fixed


def test_another_bundle_of_the_same_version_runs_beside_and_is_found_again() -> None:
    """Version 3 of two models: neither may answer for the other while traffic changes."""
    running: dict[str, Any] = {CHAMPION.application: classifier_application(CHAMPION)}
    assert place(running, version="3", bundle_uri=CHAMPION.bundle_uri).application == "classifier-3"
    other = place(running, version="3", bundle_uri="file:///other-model/3")
    assert other.application.startswith("classifier-3-")
    running[other.application] = classifier_application(other)
    assert place(running, version="3", bundle_uri=other.bundle_uri) == other
    del running[CHAMPION.application]
    assert place(running, version="3", bundle_uri=other.bundle_uri) == other, "it keeps its name when the first is gone"
