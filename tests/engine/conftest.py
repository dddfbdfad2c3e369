"""The built engine, and what Python makes of the same files. Without a build these tests are skipped: `make engine`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.golden import REPOSITORY, write_golden
from tests.engine.running import RunningServer, start_server

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
    limits = ("--max-body-bytes", "65536", "--max-images", "5", "--loops", "2")
    with start_server(build, golden / "bundles" / "colours", *limits) as running:
        yield running
