"""A server that runs, and how one knows that it does."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from app.errors import MantaError
from benchmarks.processes import ProcessList
from benchmarks.serving_peers.routes import Prediction, Route

START_LIMIT_S = 90.0
_POLL_S = 0.05


class NotStarted(MantaError):
    """The text is what it said last."""


@dataclass(frozen=True, slots=True)
class Running:
    url: str
    processes: ProcessList
    start_seconds: float
    """From its start to the first answer."""


def wait_for_answer(
    url: str, route: Route, body: bytes, *, server: subprocess.Popen[bytes] | None = None, log: Path | None = None
) -> float:
    """Seconds until a request is answered with 200. Raises NotStarted when its process ends, or after a limit."""
    started, answer = time.perf_counter(), "nothing"
    with httpx.Client(trust_env=False, timeout=10.0) as client:
        while time.perf_counter() - started < START_LIMIT_S:
            if server is not None and server.poll() is not None:
                raise NotStarted(f"it ended at once: {_last_line(log)}")
            try:
                response = client.post(url + route.path, content=body, headers={"Content-Type": route.content_type})
            except httpx.HTTPError as error:
                answer = type(error).__name__
            else:
                if response.status_code == httpx.codes.OK:
                    return time.perf_counter() - started
                answer = f"{response.status_code} {response.text[:200]}"
            time.sleep(_POLL_S)
    raise NotStarted(f"no answer after {START_LIMIT_S:.0f} s: {answer}; {_last_line(log)}")


def ask(url: str, route: Route, images: Sequence[bytes]) -> list[Sequence[Prediction]]:
    """The predictions for each image. Raises NotStarted for any status but 200."""
    headers = {"Content-Type": route.content_type}
    response = httpx.post(url + route.path, content=route.encode(images), headers=headers, trust_env=False, timeout=30)
    if response.status_code != httpx.codes.OK:
        raise NotStarted(f"{route.path} answers {response.status_code}: {' '.join(response.text.split())[:200]}")
    return route.read(response.json())


def _last_line(log: Path | None) -> str:
    if log is None or not log.is_file():
        return "it left no log"
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
