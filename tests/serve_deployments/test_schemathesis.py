"""Whatever fits the document, or nearly does: the router answers as the document says, and never with a 5xx.

The routes, the router's own logic and the parsing of changes are real; only Ray's hop to the replicas and `control`'s
cluster are replaced.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from starlette.types import ASGIApp

from app.errors import NotFound
from serve_deployments.admin_api import AdminApi
from serve_deployments.change_requests import parse
from serve_deployments.classifier_client import ClassifierClient
from serve_deployments.http_api import HttpApi
from serve_deployments.request_body import Bodies
from serve_deployments.router import Service
from serve_deployments.schemas import RouterArgs
from tests.serve_deployments.applications import Applications
from tests.serve_deployments.fakes import FakeControl, asgi
from tests.serve_deployments.local_server import serve
from tests.serve_deployments.openapi_document import DOCUMENT

TOKEN = "open-sesame"
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
]
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)


class ParsingControl(FakeControl):
    """Checks changes as `control` does, and makes none."""

    async def call(self, method: str, *arguments: Any) -> Any:
        if method == "change":
            parse(*arguments)
        if method == "operation" and arguments != ("1",):
            raise NotFound("there is no such operation")
        return await super().call(method, *arguments)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    applications = Applications(tmp_path_factory.mktemp("bundles"))
    for version in "12":
        applications.deploy(version)

    async def connect(application: str, *, retries: int) -> object:
        return applications.clients[application]

    async def make() -> ASGIApp:
        service = Service(RouterArgs())
        traffic = applications.traffic(1, **{"1": 3, "2": 1})
        await service.fleet.apply({**traffic, "quality": {"fast": "2", "ensemble": {"1": 1, "2": 1}}})
        control, bodies = ParsingControl(), Bodies(max_bytes=1 << 20, max_bytes_in_all=1 << 23)
        admin = AdminApi(control, bodies, token=TOKEN)
        return asgi(HttpApi(service, bodies, admin=admin, control=control, max_images=16))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClassifierClient, "connect", connect)
        with serve(make) as address:
            yield f"http://{address}"


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


@SCHEMA.parametrize()
@settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_the_service_keeps_to_its_document(case: schemathesis.Case[Any], url: str, session: requests.Session) -> None:
    headers = {"authorization": f"Bearer {TOKEN}"} if case.path.startswith("/admin") else {}
    case.call_and_validate(base_url=url, headers=headers, session=session, checks=CHECKS)
