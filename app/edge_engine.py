"""The C++ engine (`engine/`) as `manta compare` measures it, where it is built: its program, run on a bundle."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.errors import MantaError
from app.imaging import encode_png
from app.peak_memory import largest_resident_set

PROGRAM = "manta-engine"
VARIABLE = "MANTA_ENGINE"
_BUILT = Path(__file__).parent.parent / "build" / "engine" / "bin" / PROGRAM
_LOOK_S = 0.01
_LIMIT_S = 600.0


def find_engine() -> Path | None:
    """The program that `MANTA_ENGINE` names, else that of `make engine` in this checkout, else the installed one."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    if _BUILT.is_file():
        return _BUILT
    found = shutil.which(PROGRAM)
    return Path(found) if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTiming:
    """Of one image or batch, from pixels to named classes, on one thread."""

    p50_ms: float
    p99_ms: float
    peak_memory_bytes: int


@dataclass(frozen=True, slots=True)
class EdgeEngine:
    """One graph of a bundle, run by the program. Every method raises MantaError when that fails."""

    program: Path
    bundle: Path
    variant: str

    def probabilities(self, images: np.ndarray, labels: tuple[str, ...]) -> np.ndarray:
        """images: uint8 [N, H, W, 3] RGB at the input size. Returns float32 [N, C], as the JSON has them."""
        with tempfile.TemporaryDirectory() as folder:
            for number, image in enumerate(images):
                (Path(folder) / f"{number:08}.png").write_bytes(encode_png(image))
            answer, _ = self._run("--directory", folder, "--top-k", str(len(labels)))
        results = sorted(answer["results"], key=lambda result: result["file"])
        if len(results) != len(images):
            raise MantaError(f"the engine answered {len(results)} of {len(images)} images")
        rows = np.zeros((len(images), len(labels)), np.float32)
        for row, result in zip(rows, results, strict=True):
            for prediction in result["predictions"]:
                row[prediction["class_id"]] = prediction["confidence"]
        return rows

    def timing(self, batch_size: int, iterations: int) -> EngineTiming:
        """In a process of its own, with noise as images."""
        arguments = ("--benchmark", "--no-decode", "--batch", str(batch_size), "--iterations", str(iterations))
        answer, memory = self._run(*arguments)
        call = answer["call"]
        return EngineTiming(p50_ms=call["p50_ms"], p99_ms=call["p99_ms"], peak_memory_bytes=memory)

    def _run(self, *arguments: str) -> tuple[dict[str, Any], int]:
        """Its JSON, and its largest resident set in bytes."""
        command = [str(self.program), "--model", str(self.bundle), "--variant", self.variant, "--json", *arguments]
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            try:
                process = subprocess.Popen(command, stdout=out, stderr=err)
            except OSError as error:
                raise MantaError(f"the engine cannot be run: {error}") from error
            memory, deadline = 0, time.monotonic() + _LIMIT_S
            while process.poll() is None:
                memory = max(memory, _memory_of(process.pid))
                if time.monotonic() > deadline:
                    process.kill()
                time.sleep(_LOOK_S)
            out.seek(0)
            err.seek(0)
            if process.returncode != 0:
                said = err.read().strip().splitlines() or [f"exit code {process.returncode}"]
                raise MantaError(f"the engine failed: {said[-1]}")
            return json.loads(out.read()), memory


def _memory_of(pid: int) -> int:
    """Bytes; 0 for a process that has just ended."""
    try:
        return largest_resident_set(pid)
    except (OSError, ValueError):
        return 0
