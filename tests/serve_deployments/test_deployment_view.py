"""Which version a client means by a model's name, with and without a version."""

from __future__ import annotations

import pytest

from app.artifact import Manifest
from app.errors import ClusterError, NotFound
from serve_deployments.deployment_view import DeploymentView, VersionView
from tests.bundles import COLOURS
from tests.serve_deployments.fakes import INPUT

MANIFEST = Manifest(name="colours", architecture="mean_colour", labels=COLOURS, input=INPUT, created="2026-01-01")


def view(champion: str | None = "2") -> DeploymentView:
    versions = tuple(VersionView(version, MANIFEST, int(version) - 1) for version in "123")
    return DeploymentView(model="colours", versions=versions, champion=champion)


def test_a_name_means_the_champion() -> None:
    assert view().find("colours").version == "2"
    assert view().find("colours", "3").version == "3"


@pytest.mark.parametrize("champion", [None, "gone"])
def test_without_a_champion_the_first_version_speaks_for_the_model(champion: str | None) -> None:
    assert view(champion).find("colours").version == "1"


@pytest.mark.parametrize(
    ("model", "version", "message"),
    [
        ("other", None, "there is no model 'other'; the one deployed is 'colours'"),
        ("", "1", "there is no model ''"),
        ("colours", "4", r"has no version '4' deployed \(it has: 1, 2, 3\)"),
        ("colours", "", "has no version ''"),
    ],
)
def test_unknown_ones(model: str, version: str | None, message: str) -> None:
    with pytest.raises(NotFound, match=message):
        view().find(model, version)


def test_nothing_is_deployed() -> None:
    with pytest.raises(ClusterError, match="no model is deployed yet"):
        DeploymentView(model="", versions=(), champion=None).find("colours")


def test_a_version_without_replicas_has_a_problem() -> None:
    assert [version.problem for version in view().versions] == ["no replica of version 1 runs", None, None]
