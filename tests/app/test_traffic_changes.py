"""Each change of the traffic file by itself."""

from __future__ import annotations

from typing import Any

import pytest

from app.buckets import expand
from app.errors import BadInput, NotFound
from app.traffic_changes import (
    added,
    percent_of,
    promoted,
    removed,
    replaced,
    shadowed,
    stopped,
    weighted,
    with_quality,
)
from app.traffic_file import Cascade, Quality, Shadow, TrafficFile, TrafficVersion


def version(name: str, **values: Any) -> TrafficVersion:
    return TrafficVersion(version=name, application=f"classifier-{name}", bundle_uri=f"/bundles/{name}", **values)


@pytest.fixture
def alone() -> TrafficFile:
    return replaced(TrafficFile(), "colours", version("1"))


@pytest.fixture
def tested(alone: TrafficFile) -> TrafficFile:
    """Version 2 on trial with 10 %."""
    return added(alone, version("2"), 10)


def test_the_first_version_has_all(alone: TrafficFile) -> None:
    assert percent_of(alone) == {"1": 100}
    assert alone.champion == alone["1"]
    assert alone.champion.aliases == ("champion",)


def test_a_challenger_gets_its_share_and_nobody_else_moves(tested: TrafficFile) -> None:
    assert percent_of(tested) == {"1": 90, "2": 10}
    assert [each.version for each in tested.challengers] == ["2"]
    third = added(tested, version("3"), 5)
    before, after = expand(tested.assigned), expand(third.assigned)
    assert {(old, new) for old, new in zip(before, after, strict=True) if old != new} == {("1", "3")}


def test_a_standby_has_no_users(tested: TrafficFile) -> None:
    standby = added(tested, version("3"))
    assert percent_of(standby)["3"] == 0
    assert standby.assigned == tested.assigned


def test_shares_are_percent_of_all(tested: TrafficFile) -> None:
    assert percent_of(weighted(tested, {"2": 25})) == {"1": 75, "2": 25}
    assert percent_of(weighted(tested, {"2": 100})) == {"1": 0, "2": 100}
    assert percent_of(stopped(tested, "2")) == {"1": 100, "2": 0}


@pytest.mark.parametrize(
    ("percents", "error", "text"),
    [
        ({"2": 101}, BadInput, "0 to 100"),
        ({"2": -1}, BadInput, "0 to 100"),
        ({"2": float("nan")}, BadInput, "0 to 100"),
        ({"1": 50}, BadInput, "has what the others leave"),
        ({"9": 5}, NotFound, "version 9 is not deployed; deployed: 1, 2"),
        ({"2": 60, "3": 60}, BadInput, "sum up to 120"),
    ],
)
def test_shares_that_cannot_be(
    tested: TrafficFile, percents: dict[str, float], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        weighted(added(tested, version("3")) if "3" in percents else tested, percents)


def test_promotion_keeps_the_former_champion_on_standby(tested: TrafficFile) -> None:
    after = promoted(tested, "2")
    assert after.champion == after["2"]
    assert percent_of(after) == {"1": 0, "2": 100}
    assert after["1"].aliases == ()
    back = promoted(after, "1")
    assert (back.champion, percent_of(back)) == (back["1"], {"1": 100, "2": 0})
    with pytest.raises(BadInput, match="champion already"):
        promoted(back, "1")


def test_promotion_leaves_other_challengers_alone(tested: TrafficFile) -> None:
    three = added(tested, version("3"), 20)
    after = promoted(three, "2")
    assert percent_of(after) == {"1": 0, "2": 80, "3": 20}
    before = [name == "3" for name in expand(three.assigned)]
    assert [name == "3" for name in expand(after.assigned)] == before


def test_what_is_removed_leaves_its_users_to_the_champion(tested: TrafficFile) -> None:
    after = removed(shadowed(tested, Shadow(version="2")), "2")
    assert percent_of(after) == {"1": 100}
    assert after.shadow is None
    with pytest.raises(BadInput, match="is the champion"):
        removed(tested, "1")
    named = with_quality(tested, Quality(auto=Cascade(fast="2", accurate="1", threshold=0.9)))
    with pytest.raises(BadInput, match="answers a `quality`"):
        removed(named, "2")


def test_the_revision_is_raised_where_a_change_is_put_into_effect(tested: TrafficFile) -> None:
    changed = weighted(tested, {"2": 20})
    assert changed.revision == tested.revision
    after = changed.after(tested.model_copy(update={"revision": 7}))
    assert (after.revision, after.weights) == (8, changed.weights)


def test_a_shadow_that_is_promoted_is_none_any_more(tested: TrafficFile) -> None:
    """It would be asked everything twice, and agree with itself."""
    assert promoted(shadowed(tested, Shadow(version="2")), "2").shadow is None
    third = added(tested, version("3"), 5)
    kept = promoted(shadowed(third, Shadow(version="3")), "2").shadow
    assert kept is not None
    assert kept.version == "3"


def test_the_shadow_and_qualities_name_deployed_versions(tested: TrafficFile) -> None:
    with pytest.raises(NotFound):
        shadowed(tested, Shadow(version="9"))
    with pytest.raises(BadInput, match="its own shadow"):
        shadowed(tested, Shadow(version="1"))
    with pytest.raises(NotFound):
        with_quality(tested, Quality(fast="9"))


def test_without_a_champion_nothing_has_a_share() -> None:
    nobody = TrafficFile(versions=(version("1", weight=1.0),))
    with pytest.raises(BadInput, match="no version is the champion"):
        weighted(nobody, {"1": 10})
    with pytest.raises(BadInput, match="no version is the champion"):
        promoted(nobody, "1")
