"""Which share of the users a version has: fixed buckets, of which a change of shares moves as few as it must.

A user's key is hashed into one of 10,000 buckets, so a share grows in steps of 0.01 %. Which version a bucket belongs
to is written down rather than computed from the weights: no rule without memory can keep every user of the versions
whose weight did not change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from app.errors import BadInput

BUCKETS = 10_000

Runs = tuple[tuple[int, str], ...]
"""Buckets in order: each (end, version) says that buckets up to `end`, exclusive, are that version's."""


def bucket_of(key: str) -> int:
    """The bucket of a user or request: the same in every process and on every machine."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()) % BUCKETS


def bucket_counts(weights: Mapping[str, float]) -> dict[str, int]:
    """Buckets of each version, in proportion to the weights, by largest remainders. Raises BadInput without weights.

    A version with a weight has a bucket at least.
    """
    total = sum(weights.values())
    if total <= 0 or any(weight < 0 for weight in weights.values()):
        raise BadInput("at least one version needs a weight above 0, and none may have one below")
    exact = {version: weight / total * BUCKETS for version, weight in weights.items() if weight > 0}
    counts = {version: max(1, int(share)) for version, share in exact.items()}
    by_remainder = sorted(exact, key=lambda version: counts[version] - exact[version])
    for version in by_remainder[: max(0, BUCKETS - sum(counts.values()))]:
        counts[version] += 1
    counts[max(counts, key=lambda version: counts[version])] += BUCKETS - sum(counts.values())
    return counts


def spread(weights: Mapping[str, float]) -> Runs:
    """A first assignment: one run of buckets for each version, in the order of the weights."""
    return _runs(version for version, count in bucket_counts(weights).items() for _ in range(count))


def rebalance(runs: Runs, weights: Mapping[str, float]) -> Runs:
    """The assignment for new weights in which every bucket that may keep its version does.

    Versions give up their last buckets, and those that grow take them in order.
    """
    left = bucket_counts(weights)
    table: list[str | None] = []
    for version in expand(runs):
        keeps = left.get(version, 0) > 0
        if keeps:
            left[version] -= 1
        table.append(version if keeps else None)
    growing = iter([version for version, count in left.items() for _ in range(count)])
    return _runs(version if version is not None else next(growing) for version in table)


def expand(runs: Runs) -> list[str]:
    """The version of every bucket. Raises BadInput when the runs do not cover all buckets in order."""
    table: list[str] = []
    for end, version in runs:
        if end <= len(table):
            raise BadInput(f"buckets must be in rising order, but {end} follows {len(table)}")
        table += [version] * (end - len(table))
    if len(table) != BUCKETS:
        raise BadInput(f"buckets end at {len(table)}, not at {BUCKETS}")
    return table


def _runs(table: Iterable[str]) -> Runs:
    runs: list[tuple[int, str]] = []
    for place, version in enumerate(table):
        if runs and runs[-1][1] == version:
            runs[-1] = (place + 1, version)
        else:
            runs.append((place + 1, version))
    return tuple(runs)
