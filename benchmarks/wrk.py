"""The load generator wrk: one thread that sends requests from files in turns, and what it says at the end.

wrk is a closed loop. Of a request that took far longer than the others it also counts those that its client would have
sent meanwhile ("corrects" the latencies), so a stall weighs more in its p99 than in a plain list of latencies.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.errors import MantaError, NotFound

SCRIPT = Path(__file__).with_name("wrk_post.lua")
RESULT_PREFIX = "wrk-result "
TIMEOUT_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFiles:
    """What a run sends: bodies in files 1, 2, ... of a folder."""

    path: str
    content_type: str
    folder: Path
    count: int

    @classmethod
    def write(cls, folder: Path, path: str, content_type: str, bodies: Sequence[bytes]) -> RequestFiles:
        folder.mkdir(parents=True)
        for number, body in enumerate(bodies, start=1):
            (folder / str(number)).write_bytes(body)
        return cls(path=path, content_type=content_type, folder=folder, count=len(bodies))


@dataclass(frozen=True, slots=True, kw_only=True)
class WrkResult:
    """One run. Latencies in milliseconds."""

    answers: int
    seconds: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    errors: dict[str, int]
    """By kind (connect, read, write, status, timeout); kinds that did not occur are left out."""

    @property
    def per_second(self) -> float:
        """Answers without an error status."""
        return (self.answers - self.errors.get("status", 0)) / self.seconds

    @property
    def failed(self) -> int:
        return sum(self.errors.values())

    @classmethod
    def parse(cls, output: str) -> WrkResult:
        """output: all that wrk printed. Raises MantaError with its last line when there is no result in it."""
        lines = [line for line in output.splitlines() if line.strip()]
        found = next((line for line in lines if line.startswith(RESULT_PREFIX)), None)
        if found is None:
            raise MantaError(f"wrk gave no result: {lines[-1] if lines else 'it said nothing'}")
        values = json.loads(found.removeprefix(RESULT_PREFIX))
        latency = {f"{name}_ms": microseconds / 1000 for name, microseconds in values["latency_us"].items()}
        return cls(
            answers=values["answers"],
            seconds=values["duration_us"] / 1e6,
            errors={kind: count for kind, count in values["errors"].items() if count},
            **latency,
        )


def require_wrk() -> str:
    """Its version. Raises NotFound, saying how to install it."""
    if shutil.which("wrk") is None:
        raise NotFound("the load generator wrk is not installed; on Debian and Ubuntu: apt-get install wrk")
    said = subprocess.run(["wrk", "--version"], capture_output=True, text=True, check=False).stdout
    return said.split()[1] if len(said.split()) > 1 else "unknown"


def run_wrk(url: str, requests: RequestFiles, *, clients: int, seconds: int, core: int | None = None) -> WrkResult:
    """core: the only one that wrk may run on."""
    command = [
        *(("taskset", "--cpu-list", str(core)) if core is not None else ()),
        *("wrk", "--threads", "1", "--connections", str(clients), "--duration", f"{seconds}s"),
        *("--timeout", f"{TIMEOUT_S}s", "--script", str(SCRIPT), url),
        *("--", requests.path, requests.content_type, str(requests.folder), str(requests.count)),
    ]
    ended = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=seconds + 3 * TIMEOUT_S, stdin=subprocess.DEVNULL
    )
    return WrkResult.parse(ended.stdout + ended.stderr)
