"""What a measurement was made on."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import psutil

from app.cores import usable_cores


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    processor: str
    instructions: tuple[str, ...]
    """The widest sets of vector and matrix instructions that it has."""
    cores: int
    """That this process may use."""
    memory_gib: float
    system: str
    load: float
    """Processes that wanted a core, mean of the minute before: above 0.5 other work ran beside the measurement."""

    @classmethod
    def here(cls) -> Machine:
        flags = _first_value("flags").split()
        wanted = ("avx2", "avx512f", "avx512_vnni", "amx_tile", "asimd")
        return cls(
            processor=_first_value("model name") or platform.processor() or platform.machine(),
            instructions=tuple(flag for flag in wanted if flag in flags),
            cores=usable_cores(),
            memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
            system=f"{platform.system()} {platform.machine()}",
            load=round(os.getloadavg()[0], 2),
        )

    def __str__(self) -> str:
        instructions = f" ({', '.join(self.instructions)})" if self.instructions else ""
        return (
            f"{self.processor}{instructions}, {self.cores} cores, {self.memory_gib:g} GiB, {self.system}; "
            f"load before: {self.load:g}"
        )


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Installed versions by package, Python's own first."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}}


def _first_value(key: str) -> str:
    """Of /proc/cpuinfo; "" where there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == key), "")
