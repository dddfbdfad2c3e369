"""Which version answers a request: one pure function of the traffic file and the request."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from app.errors import ClusterError
from serve_deployments.schemas import TrafficFile, TrafficVersion

BUCKETS = 10_000
"""Fixed, so that a share grows in steps of 0.01 % and moves no one else."""


@dataclass(frozen=True, slots=True)
class Caller:
    """What assignment may depend on."""

    request_id: str
    user_id: str | None = None
    version: str | None = None
    """The version that was asked for by name: its weight does not matter then."""


def choose(traffic: TrafficFile, caller: Caller) -> TrafficVersion:
    """The version for this request, by weight. The same user stays with a version while weights stay.

    Raises ClusterError when nothing is deployed.
    """
    weighted = [version for version in traffic.versions if version.weight > 0]
    if not weighted:
        raise ClusterError("no model is deployed yet")
    if len(weighted) == 1:
        return weighted[0]
    position = (_bucket(caller.user_id or caller.request_id) + 0.5) / BUCKETS
    reached, total = 0.0, sum(version.weight for version in weighted)
    for version in weighted:
        reached += version.weight / total
        if position < reached:
            return version
    return weighted[-1]  # rounding only


def _bucket(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()) % BUCKETS
