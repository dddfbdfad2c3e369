"""Prints the largest resident set, in bytes, of a process that runs one model and nothing else.

python -m app.peak_memory VARIANT FILE HEIGHT WIDTH
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import numpy as np

BATCH = 32
RUNS = 5


def main(variant: str, file: str, height: str, width: str) -> None:
    from app.comparison import COMPILED, PYTORCH, load_pytorch
    from app.conversion.variants import load_variant

    if variant in (PYTORCH, COMPILED):
        predict = load_pytorch(Path(file), 1, compiled=variant == COMPILED)
    else:
        predict = load_variant(Path(file))
    images = np.zeros((BATCH, int(height), int(width), 3), np.uint8)
    for _ in range(RUNS):
        predict(images)
    print(1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


if __name__ == "__main__":
    main(*sys.argv[1:])
