"""What is done to a service under load, and what its clients saw of it.

load begins -> the fault -> the service is whole again -> a while later the load ends
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.http_connection import Address
from app.load_generator import Load, Seen, send_load
from benchmarks.fault_service import FaultService, Part, wait_until

BEFORE_S, AFTER_S = 1.5, 2.0
"""Seconds of load before the fault, and after the service is whole again."""
LIMIT_S = 90.0
"""Until the service has to be whole again."""
RETRY_AFTER_S = 1.0
"""What the service tells clients in `Retry-After`, and they wait before they send a request once more."""
REQUEST_LIMIT_S = 30.0
CLIENTS, PAUSE_S = 8, 0.02
"""At most 400 requests/s: a load that one core carries, so that a fault is seen rather than a full machine."""

Fault = Callable[[FaultService], Callable[[], bool]]
"""Does it, and returns the condition that the service is whole again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultCase:
    name: str
    fault: Fault
    may_fail: bool
    """Whether requests that are inside what is killed may fail. One that is sent once more never may."""
    prepare: Callable[[FaultService], None] = lambda _service: None
    clean_up: Callable[[FaultService], None] = lambda _service: None


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultOutcome:
    """One case, once."""

    requests: int
    """Different ones: repetitions do not count."""
    failed: int
    lost: int
    """Requests that failed, were sent once more after RETRY_AFTER_S, and failed again."""
    kinds: str
    """Of the failures, in words: `5 closed, 2 refused`."""
    failing_s: float
    """From the first failure to the last; 0 without one."""
    longest_s: float
    """The longest that a request took until it was answered, its repetition included."""
    whole_s: float
    """From the fault until as many processes as before run, or until the change is done."""


def _killing(part: Part, *, may_fail: bool = True) -> FaultCase:
    return FaultCase(name=f"kill -9 of {part}", fault=lambda service: service.kill(part), may_fail=may_fail)


def _changing(make: Callable[[FaultService], None]) -> Fault:
    def fault(service: FaultService) -> Callable[[], bool]:
        make(service)
        return lambda: True

    return fault


CASES: Sequence[FaultCase] = (
    _killing(Part.CLASSIFIER, may_fail=False),
    _killing(Part.ROUTER),
    _killing(Part.HAPROXY),
    _killing(Part.PROXY),
    _killing(Part.CONTROL),
    _killing(Part.CONTROLLER),
    FaultCase(name="another version", fault=_changing(FaultService.replace_version), may_fail=False),
    FaultCase(
        name="another traffic file",
        fault=_changing(lambda service: service.shift_traffic(50.0)),
        may_fail=False,
        prepare=lambda service: service.add_challenger(10.0),
        clean_up=FaultService.drop_challenger,
    ),
    FaultCase(name="another router", fault=_changing(FaultService.redeploy_router), may_fail=False),
)


def run_case(case: FaultCase, service: FaultService, requests: Sequence[bytes]) -> FaultOutcome:
    """requests: whole ones, sent in turns. Raises ClusterError when the service does not become whole again."""
    case.prepare(service)
    try:
        return asyncio.run(_under_load(case, service, requests))
    finally:
        case.clean_up(service)


async def _under_load(case: FaultCase, service: FaultService, requests: Sequence[bytes]) -> FaultOutcome:
    whole_s = 0.0

    async def beside(_seen: Seen) -> None:
        nonlocal whole_s
        await asyncio.sleep(BEFORE_S)
        began = time.perf_counter()
        whole = await asyncio.to_thread(case.fault, service)
        await asyncio.to_thread(wait_until, whole, LIMIT_S)
        whole_s = time.perf_counter() - began
        await asyncio.sleep(AFTER_S)

    load = Load(requests=requests, clients=CLIENTS, seconds=10 * LIMIT_S, pause_s=PAUSE_S, retry_after_s=RETRY_AFTER_S)
    seen = await send_load(Address.of(service.url), load, timeout_s=REQUEST_LIMIT_S, beside=beside)
    return _outcome(seen, whole_s)


def _outcome(seen: Seen, whole_s: float) -> FaultOutcome:
    return FaultOutcome(
        requests=seen.answered + seen.failed,
        failed=seen.failed,
        lost=seen.lost.total(),
        kinds=", ".join(f"{count} {kind}" for kind, count in seen.errors.most_common()),
        failing_s=max(seen.failed_at) - min(seen.failed_at) if seen.failed_at else 0.0,
        longest_s=max([*seen.latencies, *seen.repeated], default=0.0),
        whole_s=whole_s,
    )
