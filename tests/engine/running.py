"""The engine's programs, run in processes of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class RunningServer:
    process: subprocess.Popen[str]
    url: str

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def resident_bytes(self) -> int:
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def cpu_seconds(self) -> float:
        """User and system time of all its threads so far."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def end(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


@contextlib.contextmanager
def start_server(build: Path, model: Path, *options: str) -> Iterator[RunningServer]:
    """Serves on a free port; ready when the block begins, ended with it."""
    command = [str(build / "bin" / "manta-engine-server"), "--model", str(model), "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if "http://" not in line:
                raise RuntimeError(f"the server did not start: {line!r}, exit code {process.wait(timeout=10)}")
            yield RunningServer(process, line[line.index("http://") :].strip())
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(timeout=60)


def run_engine(build: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`manta-engine` with these arguments, run to its end."""
    command = [str(build / "bin" / "manta-engine"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, errors="surrogateescape", timeout=120, check=False)
