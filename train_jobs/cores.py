"""How many cores a cluster has, as its driver sees it."""

from __future__ import annotations

import ray

from app.cores import usable_cores


def cluster_cores() -> int:
    """Of the cluster that this process is connected to, at least one."""
    return max(1, sum(_cores_by_node()))


def tasks_at_once() -> int:
    """One for each core of the cluster, and no more than it declares."""
    return max(1, min(cluster_cores(), int(ray.cluster_resources().get("CPU", 1))))


def threads_each(workers: int) -> int:
    """Torch threads of each of so many workers that train at once, spread evenly over the nodes."""
    cores = _cores_by_node()
    return max(1, sum(cores) // max(workers, len(cores)))


def _cores_by_node() -> list[int]:
    """Of each node that takes work.

    This machine's own where it is one of them, because its logical CPUs are only tickets and may be more; what the
    others declare, because they may be of another size.
    """
    here = ray.get_runtime_context().get_node_id()
    declared = {node["NodeID"]: int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]}
    return [usable_cores() if node == here else cpus for node, cpus in declared.items() if cpus > 0]
