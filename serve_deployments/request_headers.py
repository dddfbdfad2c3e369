"""A request's headers as one dictionary, made once: Starlette's own looks through all of them at every question."""

from __future__ import annotations

import re

from starlette.requests import Request

REQUEST_ID = "x-request-id"
SANE_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}", re.ASCII)
"""What a client may choose as its request's id."""

_BY_NAME = "manta.headers"


def header(request: Request, name: str) -> str | None:
    """The first header of that name (in small letters), None when it was not sent."""
    by_name: dict[bytes, bytes] | None = request.scope.get(_BY_NAME)
    if by_name is None:
        by_name = request.scope[_BY_NAME] = dict(reversed(request.scope["headers"]))
    value = by_name.get(name.encode("latin-1"))
    return None if value is None else value.decode("latin-1")
