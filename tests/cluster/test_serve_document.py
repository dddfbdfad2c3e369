"""The document by itself: no cluster."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from ray.serve.schema import ServeDeploySchema

from app.artifact import Manifest
from app.errors import BadInput, ClusterError
from cluster.serve_document import (
    Scale,
    ServedVersion,
    Traffic,
    build_document,
    check_compatible,
    classifier_application,
    router_application,
    runs_version,
    traffic_of,
    with_traffic,
)
from serve_deployments.schemas import ClassifierArgs, RouterArgs, TrafficFile
from tests.bundles import write_colour_bundle

CHAMPION = ServedVersion(version="3", bundle_uri="file:///bundles/3", aliases=("champion",), weight=0.9)
CHALLENGER = ServedVersion(version="4", bundle_uri="file:///bundles/4", aliases=("challenger",), weight=0.1)
TRAFFIC = Traffic(model="colours", versions=(CHAMPION, CHALLENGER), revision=7)


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
    arguments = ClassifierArgs.model_validate(classifier_application(CHAMPION, Scale(replicas=2, threads=2))["args"])
    assert (arguments.version, arguments.bundle_uri, arguments.threads) == ("3", "file:///bundles/3", 2)
    RouterArgs.model_validate(router_application()["args"])
    parsed = TrafficFile.model_validate(TRAFFIC.to_dict())
    assert parsed.revision == 7
    assert [version.application for version in parsed.versions] == ["classifier-3", "classifier-4"]
    assert TrafficFile.model_validate(Traffic(model="colours").to_dict()).versions == ()


def test_the_traffic_file_comes_back_out_of_the_router() -> None:
    assert traffic_of(with_traffic(router_application(), TRAFFIC)) == TRAFFIC
    with pytest.raises(ClusterError, match="no traffic file"):
        traffic_of(router_application())
    with pytest.raises(ClusterError, match="not Manta's"):
        Traffic.from_dict({"revision": 1, "model": "x", "versions": [{"version": "1"}]})


def test_changed_traffic_changes_nothing_that_restarts_the_router() -> None:
    before, after = (with_traffic(router_application(), Traffic(model="m", revision=revision)) for revision in (1, 2))
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
    int8 = dataclasses.replace(CHAMPION, variant="int8")
    assert int8.application == "classifier-3-int8"
    assert not runs_version(running, int8)
    assert not runs_version(running, dataclasses.replace(CHAMPION, bundle_uri="file:///elsewhere/3"))


def test_replicas_are_the_fragments_unless_given() -> None:
    assert classifier_application(CHAMPION)["deployments"][0]["num_replicas"] == 1
    assert classifier_application(CHAMPION, Scale(replicas=3))["deployments"][0]["num_replicas"] == 3
    assert classifier_application(CHAMPION)["deployments"][0]["num_replicas"] == 1, "fragments are not shared"


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return write_colour_bundle(tmp_path / "bundle")


def test_versions_with_the_same_labels_and_input_fit_together(manifest: Manifest) -> None:
    check_compatible({"3": manifest, "4": dataclasses.replace(manifest, architecture="other")}, "3")


def test_other_labels_are_refused_by_name(manifest: Manifest) -> None:
    more = dataclasses.replace(manifest, labels=(*manifest.labels, "violet"))
    with pytest.raises(BadInput, match=r"version 4 has other labels than version 3 \(violet\)"):
        check_compatible({"3": manifest, "4": more}, "3")
    turned = dataclasses.replace(manifest, labels=manifest.labels[::-1])
    with pytest.raises(BadInput, match="in another order"):
        check_compatible({"3": manifest, "4": turned}, "3")


def test_another_input_is_refused(manifest: Manifest) -> None:
    larger = dataclasses.replace(manifest, input=dataclasses.replace(manifest.input, height=16))
    with pytest.raises(BadInput, match=r"version 4 takes 16x8 images .* and version 3 8x8"):
        check_compatible({"3": manifest, "4": larger}, "3")


def test_another_bundle_of_the_same_version_runs_beside_and_is_found_again() -> None:
    """Version 3 of two models: neither may answer for the other while traffic changes."""
    other = dataclasses.replace(CHAMPION, bundle_uri="file:///other-model/3")
    running = {CHAMPION.application: classifier_application(CHAMPION)}
    assert CHAMPION.beside(running) == CHAMPION
    placed = other.beside(running)
    assert placed.application.startswith("classifier-3-")
    running[placed.application] = classifier_application(placed)
    assert other.beside(running) == placed
    del running[CHAMPION.application]
    assert other.beside(running) == placed, "and keeps its name when the first one is gone"
    traffic = Traffic(model="m", versions=(placed,), revision=1)
    assert Traffic.from_dict(traffic.to_dict()) == traffic
