"""Errors as HTTP answers: one JSON body that carries the RFC 9457 members and `error`."""

from __future__ import annotations

import logging

import orjson
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from app.errors import BadInput, MantaError

logger = logging.getLogger("ray.serve")

RETRY_AFTER_S = 1
TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    413: "Request Entity Too Large",
    415: "Unsupported Media Type",
    500: "Internal Server Error",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}
"""As in the engine's `problem.cpp`; the names in `http.HTTPStatus` change with Python's version."""


class NotAllowed(BadInput):
    """A method that this route does not have. `allow` is what it has."""

    http_status = 405

    def __init__(self, message: str, allow: str) -> None:
        super().__init__(message)
        self.allow = allow


class UnsupportedMedia(BadInput):
    """A content type or encoding that this route does not read."""

    http_status = 415


class Forbidden(BadInput):
    """Something that this route never does, whoever asks."""

    http_status = 403


def problem(error: Exception, request_id: str, **members: object) -> Response:
    """The answer to an error. What is not one of ours is logged, and told to nobody else."""
    status, detail = logged_status_and_detail(error, request_id)
    body = {
        "type": "about:blank",
        "title": TITLES.get(status, "Error"),
        "status": status,
        "detail": detail,
        "error": detail,
        "request_id": request_id,
        **members,
    }
    headers = {}
    if status == 503:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    if isinstance(error, NotAllowed):
        headers["Allow"] = error.allow
    return Response(orjson.dumps(body), status, headers, media_type="application/problem+json")


def logged_status_and_detail(error: Exception, request_id: str) -> tuple[int, str]:
    """As `status_and_detail`, and a fault's traceback stands in the log under the request's id."""
    status, detail = status_and_detail(error)
    if status == 500:
        logger.error("request %s failed", request_id, exc_info=error)
    return status, detail


def status_and_detail(error: Exception) -> tuple[int, str]:
    """HTTP status and the one line that the client sees."""
    if isinstance(error, MantaError) and error.http_status != 500:
        return error.http_status, str(error)
    if isinstance(error, TimeoutError):
        return 504, str(error) or "no answer in time"
    if isinstance(error, ClientDisconnect):
        return 400, "the body ended early"
    return 500, "internal error"
