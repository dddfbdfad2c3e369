"""Which service a verb means, and its line to that service's admin routes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Annotated

import typer

from app.admin_client import AdminClient
from app.cli.cluster_commands import url_of
from app.config import Home
from app.errors import ClusterError
from cluster.connection import connect
from cluster.environment import read_admin_token
from cluster.serve_client import ServeClient

Url = Annotated[
    str | None, typer.Option(help="The service. Unless given, the one on the cluster that runs.", metavar="URL")
]


@contextlib.contextmanager
def admin_client(url: str | None) -> Iterator[AdminClient]:
    """Raises ClusterError when no service runs and none is named."""
    home = Home.from_env()
    if url is None:
        with contextlib.closing(ServeClient(connect(home).dashboard_url)) as serve:
            url = url_of(serve.state())
        if url is None:
            raise ClusterError("nothing is served yet; put a version live with `manta serve`")
    with contextlib.closing(AdminClient(url, os.environ.get("MANTA_ADMIN_TOKEN") or read_admin_token(home))) as client:
        yield client
