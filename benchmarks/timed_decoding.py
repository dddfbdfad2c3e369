"""Reading and decoding every image once: with Ray Data, and with torchvision as PyTorch users do it.

    python -m benchmarks.timed_decoding FOLDER REPEATS

A driver of its own on the cluster of RAY_ADDRESS, which prints one JSON object. Folders are those of
torchvision's ImageFolder, alone or below `train`, `val` and `test`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.cli.session import Session
from app.dataset_layout import SPLITS
from app.errors import JobFailed

BATCH = 256
LOADER_WORKERS = 2


@dataclass(frozen=True, slots=True)
class TimedDecoding:
    """Seconds for all images. The two were measured in turns."""

    first: float
    """With Ray Data, by the first task of a job: its worker processes start and import what they need."""
    ray: list[float]
    """With Ray Data and those workers, into an empty cache each time."""
    torchvision: list[float]


def decode_in_turns(session: Session, folder: Path, repeats: int) -> TimedDecoding:
    """Raises JobFailed."""
    local = session.connection.local
    assert local is not None, "a benchmark starts its own cluster"
    environment = {"RAY_ADDRESS": local.gcs_address, "RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}
    answer = _last_line([sys.executable, "-m", "benchmarks.timed_decoding", str(folder), str(repeats)], environment)
    return TimedDecoding(**json.loads(answer))


def torchvision_seconds(folder: Path) -> float:
    """ImageFolder and DataLoader iterated over once, from a process that has imported both."""
    from torch.utils.data import ConcatDataset, DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import PILToTensor

    roots = [folder / split for split in SPLITS if (folder / split).is_dir()] or [folder]
    began = time.perf_counter()
    images: ConcatDataset[Any] = ConcatDataset([ImageFolder(root, transform=PILToTensor()) for root in roots])
    count = sum(len(labels) for _, labels in DataLoader(images, batch_size=BATCH, num_workers=LOADER_WORKERS))
    assert count == len(images)
    return time.perf_counter() - began


def ray_seconds(folder: Path) -> float:
    from app.datasets import prepare
    from train_jobs.ingest import ray_decoder

    with tempfile.TemporaryDirectory(prefix="manta-decoded-") as cache:
        began = time.perf_counter()
        prepare(str(folder), cache=Path(cache), decoder=ray_decoder())
        return time.perf_counter() - began


def _last_line(command: Sequence[str], environment: dict[str, str]) -> str:
    ended = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise JobFailed(f"{' '.join(command[1:4])} ended with {ended.returncode}: {ended.stderr.strip()[-500:]}")
    return ended.stdout.strip().splitlines()[-1]


def main(folder: Path, repeats: int) -> None:
    from train_jobs.job import connect

    connect()
    timed = TimedDecoding(ray_seconds(folder), [], [])
    # A process of its own: DataLoader forks, and this one has the threads of a Ray driver.
    alone = [sys.executable, "-m", "benchmarks.timed_decoding", str(folder)]
    for _ in range(repeats):
        timed.ray.append(ray_seconds(folder))
        timed.torchvision.append(float(_last_line(alone, {})))
    print(json.dumps(dataclasses.asdict(timed)))


if __name__ == "__main__":
    if len(sys.argv) > 2:
        main(Path(sys.argv[1]), int(sys.argv[2]))
    else:
        print(torchvision_seconds(Path(sys.argv[1])))
