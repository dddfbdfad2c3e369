"""Shares of users: as asked, and moving as few as they must."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.buckets import BUCKETS, bucket_counts, bucket_of, expand, rebalance, spread
from app.errors import BadInput

weights = st.dictionaries(st.sampled_from("abcdef"), st.floats(0.01, 100), min_size=1)


@settings(deadline=None, max_examples=50)
@given(weights)
def test_counts_follow_the_weights(asked: dict[str, float]) -> None:
    counts = bucket_counts(asked)
    assert sum(counts.values()) == BUCKETS
    total = sum(asked.values())
    for version, weight in asked.items():
        assert counts[version] == pytest.approx(weight / total * BUCKETS, abs=len(asked))
        assert counts[version] >= 1


@settings(deadline=None, max_examples=30)
@given(weights, weights, weights)
def test_a_change_moves_only_what_it_must(
    first: dict[str, float], second: dict[str, float], third: dict[str, float]
) -> None:
    runs = spread(first)
    for asked in (second, third):
        before, after = expand(runs), expand(rebalance(runs, asked))
        assert Counter(after) == bucket_counts(asked)
        had, has = Counter(before), Counter(after)
        must = sum(max(0, has[version] - had[version]) for version in has)
        assert sum(old != new for old, new in zip(before, after, strict=True)) == must
        runs = rebalance(runs, asked)


def test_a_ramp_takes_users_from_the_champion_alone() -> None:
    """With three challengers: the two whose share stays keep every user."""
    before = spread({"champion": 70, "a": 10, "b": 10, "c": 10})
    after = rebalance(before, {"champion": 65, "a": 10, "b": 15, "c": 10})
    moved = {(old, new) for old, new in zip(expand(before), expand(after), strict=True) if old != new}
    assert moved == {("champion", "b")}


def test_the_same_key_is_always_in_the_same_bucket() -> None:
    """Of any process and machine: these would break stickiness across an update."""
    assert [bucket_of(key) for key in ("ann", "bob", "")] == [bucket_of("ann"), bucket_of("bob"), bucket_of("")]
    assert len({bucket_of(f"user {number}") for number in range(2000)}) > 1700


@pytest.mark.parametrize("bad", [{}, {"a": 0.0}, {"a": 1.0, "b": -1.0}])
def test_weights_that_make_no_sense(bad: dict[str, float]) -> None:
    with pytest.raises(BadInput):
        bucket_counts(bad)


@pytest.mark.parametrize(
    "runs", [(), ((5, "a"),), ((BUCKETS, "a"), (BUCKETS, "b")), ((9, "a"), (4, "b"), (BUCKETS, "a"))]
)
def test_runs_that_do_not_cover_all(runs: tuple[tuple[int, str], ...]) -> None:
    with pytest.raises(BadInput):
        expand(runs)
