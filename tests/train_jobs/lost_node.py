"""Trains on a cluster of several nodes and takes one away in mid-run. A process of its own: it is Ray's driver.

    python -m tests.train_jobs.lost_node HOME

HOME: a home folder. Prints the run's history as JSON, with the number of epochs after which the node was lost.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

os.environ["RAY_AUTH_MODE"] = "disabled"
os.environ.pop("RAY_ADDRESS", None)
# How long Ray Train waits for workers on a node that it does not know yet to be lost.
os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = "10"

import ray
from ray.cluster_utils import Cluster

from app.config import CPU, Home
from app.settings import TrainSettings
from train_jobs.runs import open_run
from train_jobs.train import train

SETTINGS = TrainSettings(data="digits", workers="1:2", epochs=12, run="lost-node", name="digits", threads=1)
LOST_AFTER = 3


def main(home: Home) -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    object.__setattr__(CPU, "train_worker", 1.0)
    _, second = (cluster.add_node(num_cpus=1) for _ in range(2))  # room for one worker each
    ray.init(address=cluster.address, log_to_driver=False)
    lost: list[int] = []

    def lose_a_node() -> None:
        while epochs_done(home) < LOST_AFTER:
            time.sleep(0.05)
        lost.append(epochs_done(home))
        cluster.remove_node(second, allow_graceful=False)

    threading.Thread(target=lose_a_node, daemon=True).start()
    try:
        trained = train(SETTINGS, home)
        print(json.dumps({"lost_after": lost[0], "history": [asdict(report) for report in trained.history]}))
    finally:
        ray.shutdown()
        cluster.shutdown()


def epochs_done(home: Home) -> int:
    assert SETTINGS.run is not None
    if not (home.runs / SETTINGS.run / "run.json").is_file():
        return 0
    return len(open_run(home, SETTINGS.run).history())


if __name__ == "__main__":
    main(Home(Path(sys.argv[1])))
