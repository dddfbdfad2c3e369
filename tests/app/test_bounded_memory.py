"""A dataset much larger than the memory there is streams through training."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BUDGET_MB = 250
"""Of memory that is no file: what training may take beyond what the imports took."""
IMAGES = 15_000
"""Of 128x128 pixels: 737 MB."""

TRAIN = """
import json, re, resource, sys
from pathlib import Path

import numpy as np
import torch

from app.datasets import Dataset, Split
from app.settings import FitSettings
from app.training import fit
from app.training_loop import Hooks

torch.set_num_threads(1)
folder, count, budget = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) << 20
images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, (count, 128, 128, 3))
for start in range(0, count, 1000):
    images[start : start + 1000] = np.random.default_rng(start).integers(0, 255, (128, 128, 3), dtype=np.uint8)
images.flush()
del images
images = np.load(folder / "images.npy", mmap_mode="r")
labels = np.arange(count) % 2
few = Split(images[:32], labels[:32])
dataset = Dataset(
    name="large", digest="0", labels=("a", "b"), input_size=(128, 128), train=Split(images, labels), val=few, test=few,
    mirror_ok=True, folder=folder,
)
used = int(re.search(r"VmData:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) << 10
resource.setrlimit(resource.RLIMIT_DATA, (used + budget, used + budget))
try:
    np.ones(2 * budget, np.uint8)
except MemoryError:
    print("the limit holds")
settings = FitSettings(model="mobile", epochs=1, batch_size=32, rotate=0, colour=0, grow_from=0.125)
state = fit(settings, dataset, device=torch.device("cpu"))
print("images", len(dataset.train), "epochs", state.epoch, "bytes", images.nbytes)
"""


def test_training_holds_batches_and_not_the_dataset(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", TRAIN, str(tmp_path), str(IMAGES), str(BUDGET_MB)]
    ended = subprocess.run(arguments, capture_output=True, text=True, timeout=240, check=False)
    (tmp_path / "images.npy").unlink(missing_ok=True)
    assert ended.returncode == 0, ended.stderr[-2000:]
    limit, result = ended.stdout.splitlines()
    assert limit == "the limit holds"
    assert result == f"images {IMAGES} epochs 1 bytes {IMAGES * 128 * 128 * 3}"
    assert IMAGES * 128 * 128 * 3 > 2.5 * (BUDGET_MB << 20)
