"""One line in the log for a request: for each that fails, and for a share of the others. Nothing of what was in it.

Serve's `logging_config` writes it as JSON (`cluster/serve/service.yaml`), with these fields beside the usual ones:

    {"message": "POST /predict 503", "request_id": "...", "method": "POST", "route": "/predict", "status": 503,
     "ms": 12.3, "version": "3", "arm": "champion", "error": "Overloaded", "application": "router", "replica": "..."}
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from starlette.requests import Request

if TYPE_CHECKING:
    from serve_deployments.http_api import Answer

logger = logging.getLogger("ray.serve.requests")

MOST_FAILURES_A_SECOND = 20
"""A line costs more than to refuse a request: at overload most are only counted."""

_ANSWER = "manta.answer"


def remember_answer(request: Request, answer: Answer) -> None:
    """Who answered, for the line that may be written."""
    request.scope[_ANSWER] = answer


class RequestLog:
    def __init__(
        self,
        share: float = 0.0,
        fields: Mapping[str, str] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """share: of the answered requests, 0 to 1. fields: the same in every line."""
        logger.setLevel(logging.INFO)  # Serve's own lines are written from WARNING on
        self._share = share
        self._fields = dict(fields or {})
        self._clock = clock
        self._second = 0
        self._room = MOST_FAILURES_A_SECOND
        self._left_out = 0

    def note(
        self, request: Request, request_id: str, route: str, status: int, started: float, failure: str = ""
    ) -> None:
        """started: on the clock of `time.perf_counter`. failure: the kind of error, where one was raised."""
        self.note_call(request.method, request_id, route, status, started, failure, request.scope.get(_ANSWER))

    def note_call(
        self,
        method: str,
        request_id: str,
        route: str,
        status: int,
        started: float,
        failure: str = "",
        answer: Answer | None = None,
    ) -> None:
        """The same for any protocol. answer: who answered, where somebody did."""
        if status < 400:
            if self._share > 0 and random.random() < self._share:
                self._write(logging.INFO, method, request_id, route, status, started, failure, answer)
        elif self._has_room():
            # Serve keeps lines back, a thousand at most, until one of this level comes.
            level = logging.ERROR if status >= 500 else logging.WARNING
            self._write(level, method, request_id, route, status, started, failure, answer)
        else:
            self._left_out += 1

    def _has_room(self) -> bool:
        second = int(self._clock())
        if second != self._second:
            self._second, self._room = second, MOST_FAILURES_A_SECOND
        self._room -= 1
        return self._room >= 0

    def _write(
        self,
        level: int,
        method: str,
        request_id: str,
        route: str,
        status: int,
        started: float,
        failure: str,
        answer: Answer | None,
    ) -> None:
        fields: dict[str, object] = {
            "request_id": request_id,
            "method": method,
            "route": route,
            "status": status,
            "ms": round((time.perf_counter() - started) * 1000, 3),
            **self._fields,
            # Serve would put in the id as the client sent it, and what Ray's worker is called.
            "skip_context_filter": True,
        }
        if answer is not None:
            fields |= {"version": answer.version, "arm": str(answer.arm)}
        if failure:
            fields["error"] = failure
        if self._left_out:
            fields["left_out"], self._left_out = self._left_out, 0
        logger.log(level, "%s %s %d", method, route, status, extra=fields)
