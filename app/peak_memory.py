"""Prints the largest resident set, in bytes, of a process that runs one model and nothing else.

python -m app.peak_memory VARIANT FILE HEIGHT WIDTH
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np

PYTORCH, COMPILED = "pytorch", "pytorch-compiled"
BATCH = 32
RUNS = 5


def main(variant: str, file: str, height: str, width: str) -> None:
    if variant in (PYTORCH, COMPILED):
        from app.comparison import load_pytorch

        predict = load_pytorch(Path(file), 1, compiled=variant == COMPILED)
    else:
        from app.conversion.variants import load_variant

        predict = load_variant(Path(file))
    images = np.zeros((BATCH, int(height), int(width), 3), np.uint8)
    for _ in range(RUNS):
        predict(images)
    print(largest_resident_set())


def largest_resident_set(pid: int | str = "self") -> int:
    """Bytes, of this process or another one since it was started.

    `getrusage` would also count the one that it was forked from. Raises OSError or ValueError for one that has ended.
    """
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return 1024 * int(kilobytes)


if __name__ == "__main__":
    main(*sys.argv[1:])
