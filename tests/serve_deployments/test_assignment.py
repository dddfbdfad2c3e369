"""Which version answers: shares as asked, the same user at the same version, few moved by a ramp."""

from __future__ import annotations

import functools
from collections import Counter
from typing import Any

import pytest
from pydantic import ValidationError

from app.errors import BadInput, ClusterError, NotFound
from app.traffic_file import TrafficFile
from serve_deployments.assignment import Arm, Assignment, Caller, Ensemble, Single
from serve_deployments.schemas import RouterArgs


def version(name: str, weight: float, *aliases: str) -> dict[str, Any]:
    return {
        "version": name,
        "application": f"classifier-{name}",
        "bundle_uri": f"/bundles/{name}",
        "aliases": list(aliases),
        "weight": weight,
    }


def traffic(**weights: float) -> TrafficFile:
    return TrafficFile.model_validate({"versions": [version(name, weight) for name, weight in weights.items()]})


@functools.cache
def assignment_of(file: str) -> Assignment:
    """A router builds one for each file, not for each request."""
    return Assignment(TrafficFile.model_validate_json(file))


def choose(file: TrafficFile, caller: Caller) -> Single:
    assigned = assignment_of(file.model_dump_json()).assign(caller)
    assert isinstance(assigned, Single)
    return assigned


USERS = [Caller("ignored", f"user {number}") for number in range(4000)]


def test_one_version_takes_all() -> None:
    file = traffic(a=0.3, b=0)
    assert {choose(file, caller).version for caller in USERS} == {"a"}


def test_nothing_deployed() -> None:
    with pytest.raises(ClusterError, match="no model"):
        choose(TrafficFile(), USERS[0])


def test_shares_follow_the_weights() -> None:
    file = traffic(a=6, b=3, c=1)
    counts = Counter(choose(file, caller).version for caller in USERS)
    assert [counts[name] / len(USERS) for name in "abc"] == pytest.approx([0.6, 0.3, 0.1], abs=0.03)


def test_requests_without_a_user_are_spread_by_their_id() -> None:
    file = traffic(a=1, b=1)
    counts = Counter(choose(file, Caller(f"request {number}")).version for number in range(4000))
    assert counts["a"] / 4000 == pytest.approx(0.5, abs=0.03)


def test_a_user_stays_whatever_the_request() -> None:
    file = traffic(a=1, b=1)
    assert len({choose(file, Caller(f"request {number}", "ann")).version for number in range(50)}) == 1


def test_a_ramp_moves_only_whom_it_must() -> None:
    before, after = traffic(champion=95, challenger=5), traffic(champion=90, challenger=10)
    moves = Counter((choose(before, caller).version, choose(after, caller).version) for caller in USERS)
    assert moves["challenger", "champion"] == 0
    assert moves["champion", "challenger"] / len(USERS) == pytest.approx(0.05, abs=0.015)


def test_arms() -> None:
    file = TrafficFile.model_validate({"versions": [version("1", 50, "champion"), version("2", 50)]})
    assert {choose(file, caller) for caller in USERS} == {Single("1", Arm.CHAMPION), Single("2", Arm.CHALLENGER)}


def test_a_pinned_version_answers_whatever_its_weight() -> None:
    assignment = Assignment(traffic(a=1, b=0), available=("a", "b"))
    assert assignment.assign(Caller("r", version="b")) == Single("b", Arm.PINNED)
    with pytest.raises(NotFound, match="version c is not deployed; deployed: a, b"):
        assignment.assign(Caller("r", version="c"))


def test_qualities_are_what_the_file_says() -> None:
    quality = {
        "fast": "a",
        "auto": {"fast": "a", "accurate": "b", "threshold": 0.8},
        "ensemble": {"a": 1, "b": 2},
    }
    file = traffic(a=1, b=0).model_copy(update={})
    file = TrafficFile.model_validate({**file.model_dump(), "quality": quality})
    assignment = Assignment(file)
    assert assignment.assign(Caller("r", quality="fast")) == Single("a", Arm.QUALITY)
    assert assignment.assign(Caller("r", quality="auto")) == file.quality.auto
    assert assignment.assign(Caller("r", quality="ensemble")) == Ensemble({"a": 1, "b": 2})
    with pytest.raises(BadInput, match="accurate is not set up"):
        assignment.assign(Caller("r", quality="accurate"))
    with pytest.raises(BadInput, match="one of fast, accurate"):
        assignment.assign(Caller("r", quality="best"))


@pytest.mark.parametrize(
    "file",
    [
        {"versions": [version("1", 1), version("1", 1)]},
        {"versions": [version("1", 0)]},
        {"versions": [version("1", -1), version("2", 2)]},
        {"versions": [version("1", float("inf"))]},
        {"versions": [version("1", 1, "champion"), version("2", 1, "champion")]},
        {"versions": [{"version": "1"}]},
        {"versions": None},
        {"revision": -1},
        {"wieght": 1},
        {"versions": [version("1", 1)], "shadow": {"version": "2"}},
        {"versions": [version("1", 1)], "quality": {"fast": "2"}},
        {"versions": [version("1", 1)], "quality": {"auto": {"fast": "1", "accurate": "1", "threshold": 0.5}}},
        {"versions": [version("1", 1)], "quality": {"ensemble": {"1": 1}}},
        {"versions": [version("1", 1)], "buckets": [[10_000, "2"]]},
        {"versions": [version("1", 1)], "buckets": [[9_999, "1"]]},
        [],
    ],
)
def test_bad_traffic_files(file: object) -> None:
    with pytest.raises(ValidationError):
        TrafficFile.model_validate(file)


def test_a_request_that_could_never_fit_is_refused_as_a_setting() -> None:
    with pytest.raises(ValidationError, match="never be taken"):
        RouterArgs(max_images=100, max_queued_images=50)
