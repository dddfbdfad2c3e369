"""The built engine, and what Python makes of the same files. Without a build these tests are skipped: `make engine`."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from serve_deployments.admin_api import AdminApi
from serve_deployments.http_api import HttpApi
from serve_deployments.request_body import Bodies
from tests.engine.bundle_predictor import BundlePredictor
from tests.engine.golden import REPOSITORY, write_golden
from tests.engine.running import RunningServer, start_server
from tests.serve_deployments.fakes import FakeControl, asgi

BUILD = Path(os.environ.get("MANTA_ENGINE_BUILD", REPOSITORY / "build" / "engine"))


@pytest.fixture(scope="session")
def build() -> Path:
    """The build folder, with the programs in `bin`."""
    if not (BUILD / "bin" / "manta-engine-server").is_file():
        pytest.skip(f"the engine is not built in {BUILD} (`make engine` does that)")
    return BUILD


@pytest.fixture(scope="session")
def golden(build: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("golden") / "golden"
    write_golden(folder)
    return folder


@pytest.fixture(scope="session")
def server(build: Path, golden: Path) -> Iterator[RunningServer]:
    """Serves the bundle `colours`, with small limits on bodies and images."""
    limits = ("--max-body-bytes", "65536", "--max-images", "5", "--loops", "2", "--model-version", "1")
    with start_server(build, golden / "bundles" / "colours", *limits) as running:
        yield running


@pytest.fixture(scope="session")
def predictor(golden: Path) -> BundlePredictor:
    return BundlePredictor(golden / "bundles" / "colours")


@pytest.fixture
async def python_service(predictor: BundlePredictor) -> AsyncIterator[httpx.AsyncClient]:
    """The Python service of the same bundle, with the limits of `server`."""
    bodies, control = Bodies(max_bytes=65536, max_bytes_in_all=1 << 20), FakeControl()
    admin = AdminApi(control, bodies, token="")
    api = HttpApi(predictor, bodies, admin=admin, control=control, max_images=5)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(asgi(api)), base_url="http://manta") as client:
        yield client
