"""Trains on a cluster of several nodes and takes one away in mid-run. A process of its own: it is Ray's driver.

    python -m tests.train_jobs.lost_node HOME WORKERS EPOCHS REPLACED

HOME: a home folder. REPLACED: yes when a new node comes for the lost one. Prints the run's history as JSON, with
the epoch after which the node was lost.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("RAY_AUTH_MODE", "disabled")

import ray
from ray.cluster_utils import Cluster

from app.config import Home
from app.settings import TrainSettings
from train_jobs.runs import open_run
from train_jobs.train import train

RUN = "lost-node"


def main(home: Home, workers: str, epochs: int, replaced: bool) -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=0.5), cluster.add_node(num_cpus=0.5)]  # room for one worker each
    ray.init(address=cluster.address, log_to_driver=False)
    lost: list[int] = []

    def lose_a_node() -> None:
        while (done := epochs_done(home)) < 3:
            time.sleep(0.05)
        cluster.remove_node(nodes[1], allow_graceful=False)
        lost.append(done)
        if replaced:
            cluster.add_node(num_cpus=0.5)

    threading.Thread(target=lose_a_node, daemon=True).start()
    try:
        settings = TrainSettings(
            data="digits", workers=workers, epochs=epochs, run=RUN, name="digits", threads=1, checkpoint_epochs=1
        )
        trained = train(settings, home)
        print(json.dumps({"lost_after": lost[0], "history": [asdict(report) for report in trained.history]}))
    finally:
        ray.shutdown()
        cluster.shutdown()


def epochs_done(home: Home) -> int:
    if not (home.runs / RUN / "run.json").is_file():
        return 0
    return len(open_run(home, RUN).history())


if __name__ == "__main__":
    main(Home(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3]), sys.argv[4] == "yes")
