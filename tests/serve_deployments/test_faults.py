"""Parts of a service on a real cluster are killed, or changed in place, while clients ask it all the time.

`make faults` does the same with the default network, several times, and prints what it measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from app.config import Home
from app.http_connection import Address
from benchmarks.fault_cases import CASES, FaultCase, run_case
from benchmarks.fault_service import FaultService, Part
from cluster.local import LocalCluster
from cluster.ports import free_port
from cluster.serve_client import ServeClient
from tests.bundles import write_colour_bundle
from tests.serve_deployments.fakes import colour_png

SHORT = (Part.ROUTER, Part.HAPROXY, Part.PROXY)
"""What is also killed where there is little time. A classifier is, in test_service.py."""


@pytest.fixture(scope="module")
def service(
    cluster: LocalCluster, cluster_home: Home, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FaultService]:
    folder = tmp_path_factory.mktemp("bundles")
    for version in "12":
        write_colour_bundle(folder / version)
    client = ServeClient(cluster.dashboard_url)
    service = FaultService(
        client,
        cluster_home,
        cluster.mark,
        port=free_port(),
        bundle_uris=[(folder / version).as_uri() for version in "12"],
    )
    service.start()
    yield service
    client.shutdown()
    client.close()


def _marked(case: FaultCase) -> Any:
    marks = [] if case.name.endswith(SHORT) else [pytest.mark.minutes]
    return pytest.param(case, id=case.name, marks=marks)


@pytest.mark.parametrize("case", [_marked(case) for case in CASES])
def test_clients_hardly_notice(service: FaultService, case: FaultCase) -> None:
    address = Address.of(service.url)
    requests = [address.post("/predict", "image/png", colour_png(channel)) for channel in range(3)]
    outcome = run_case(case, service, requests)
    assert outcome.requests > 100
    assert outcome.lost == 0, outcome
    if not case.may_fail:
        assert outcome.failed == 0, outcome
