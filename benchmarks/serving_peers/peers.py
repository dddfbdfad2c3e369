"""Servers other than Manta, each at its recommended settings for small requests on two cores.

All of them run the product's `app.imaging` and the very same `model.onnx` on one ONNX Runtime thread; see `servers/`.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.processes import process_tree
from benchmarks.serving_peers import routes
from benchmarks.serving_peers.environments import environment
from benchmarks.serving_peers.routes import BATCH, JSON, OWN_ROUTES, RAW, Route
from benchmarks.serving_peers.running import Running, wait_for_answer
from benchmarks.serving_peers.servers.classification import MODEL_VARIABLE
from cluster.ports import free_port

REPOSITORY = Path(__file__).parents[2]
SERVERS = "benchmarks.serving_peers.servers"
STOP_S = 5.0

Command = Callable[[Path, int, Path], list[str]]
"""(Python of its environment, port, an empty folder of its own) to a command line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    name: str
    packages: tuple[str, ...]
    """Whose versions are reported."""
    settings: str
    """In words."""
    command: Command
    routes: Mapping[str, Route]
    requirements: str | None
    """Name of its file in `requirements/`; None: it runs in Manta's own environment."""

    def python(self, cache: Path) -> Path:
        """Raises NotInstalled."""
        return environment(self.requirements, cache) if self.requirements else Path(sys.executable)

    @contextlib.contextmanager
    def running(self, python: Path, model: Path, folder: Path, body: bytes) -> Iterator[Running]:
        """Serves `model` for as long as the block runs. folder: an empty one; body: a JSON request.

        Raises NotStarted with the last line of its log.
        """
        port = free_port()
        log = folder / "server.log"
        variables = {
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            MODEL_VARIABLE: str(model),
            "BENTOML_HOME": str(folder / "bentoml"),
            "BENTOML_DO_NOT_TRACK": "True",
            "OMP_NUM_THREADS": "1",
        }
        with log.open("wb") as output:
            server = subprocess.Popen(
                self.command(python, port, folder),
                cwd=folder,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            seconds = wait_for_answer(f"http://127.0.0.1:{port}", self.routes[JSON], body, server=server, log=log)
            yield Running(f"http://127.0.0.1:{port}", lambda: process_tree(server.pid), seconds)
        finally:
            _end(server)


def _end(server: subprocess.Popen[bytes]) -> None:
    """All of its processes: some start others that they do not end."""
    started = process_tree(server.pid)
    server.terminate()
    _, left = psutil.wait_procs(started, timeout=STOP_S)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=STOP_S)
    server.wait()


def _starlette(python: Path, port: int, _folder: Path) -> list[str]:
    options = ("--host", "127.0.0.1", "--port", str(port), "--workers", "2", "--log-level", "warning")
    app = f"{SERVERS}.starlette_server:app"
    return [str(python), "-m", "uvicorn", app, *options, "--loop", "uvloop", "--http", "httptools", "--no-access-log"]


def _litserve(python: Path, port: int, _folder: Path) -> list[str]:
    return [str(python), "-m", f"{SERVERS}.litserve_server", str(port)]


def _bentoml(python: Path, port: int, _folder: Path) -> list[str]:
    command = [str(python.with_name("bentoml")), "serve", f"{SERVERS}.bentoml_service:Classifier"]
    return [*command, "--host", "127.0.0.1", "--port", str(port)]


def _mlserver(python: Path, port: int, folder: Path) -> list[str]:
    settings = {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": free_port(),
        "metrics_port": free_port(),
        "parallel_workers": 0,
        "debug": False,
    }
    model = {"name": "classifier", "implementation": f"{SERVERS}.mlserver_runtime.Classifier"}
    (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "model-settings.json").write_text(json.dumps(model), encoding="utf-8")
    return [str(python.with_name("mlserver")), "start", str(folder)]


def _json_route(path: str, encode: routes.Encode = routes.single, read: routes.Read = routes.read_single) -> Route:
    return Route(path=path, content_type="application/json", encode=encode, read=read)


STARLETTE = "Starlette"
PEERS: Mapping[str, Peer] = {
    "starlette": Peer(
        name=STARLETTE,
        packages=("starlette", "uvicorn"),
        settings="uvicorn, 2 workers, uvloop and httptools; no router and no batches",
        command=_starlette,
        routes=OWN_ROUTES,
        requirements=None,
    ),
    "litserve": Peer(
        name="LitServe",
        packages=("litserve",),
        settings="batches of 32 within 2 ms, 2 API servers, 1 worker; raw JPEG as a multipart file",
        command=_litserve,
        routes={
            JSON: _json_route("/predict", read=routes.read_batch),
            RAW: Route(
                path="/predict",
                content_type=f"multipart/form-data; boundary={routes.BOUNDARY}",
                encode=routes.multipart,
                read=routes.read_batch,
            ),
            BATCH: _json_route("/predict", routes.batch, routes.read_batch),
        },
        requirements="litserve",
    ),
    "bentoml": Peer(
        name="BentoML",
        packages=("bentoml",),
        settings="2 workers, asynchronous methods, uvloop and httptools",
        command=_bentoml,
        routes={
            JSON: _json_route("/predict"),
            RAW: Route(path="/predict_raw", content_type="image/jpeg", encode=routes.raw, read=routes.read_single),
            BATCH: _json_route("/predict_batch", routes.batch, routes.read_batch),
        },
        requirements="bentoml",
    ),
    "mlserver": Peer(
        name="MLServer",
        packages=("mlserver",),
        settings="parallel_workers=0; JSON and batches by the Open Inference Protocol, raw JPEG by a custom handler",
        command=_mlserver,
        routes={
            kind: _json_route("/v2/models/classifier/infer", routes.inference_protocol, routes.read_inference_protocol)
            for kind in (JSON, BATCH)
        }
        | {RAW: Route(path="/predict_raw", content_type="image/jpeg", encode=routes.raw, read=routes.read_single)},
        requirements="mlserver",
    ),
}
