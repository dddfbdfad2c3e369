"""The memory that a service reports of itself at `/metrics`."""

from __future__ import annotations

import re
from dataclasses import dataclass

import httpx

_RESIDENT = re.compile(r"^(?:\w+_)?resident_memory_bytes(?:\{.*\})? ([0-9.eE+]+)", re.MULTILINE)
_LIMIT_S = 5.0


def resident_bytes(metrics: str) -> int | None:
    """The sum over all processes in a Prometheus text (`process_resident_memory_bytes`, with any prefix), or None."""
    found = _RESIDENT.findall(metrics)
    return round(sum(map(float, found))) if found else None


@dataclass(frozen=True, slots=True)
class MemoryReading:
    """Bytes, or why there are none."""

    bytes: int | None
    reason: str = ""


class ServiceMemory:
    def __init__(self, url: str) -> None:
        self._client = httpx.AsyncClient(base_url=url.rstrip("/"), timeout=_LIMIT_S, trust_env=False)

    async def read(self) -> MemoryReading:
        try:
            response = await self._client.get("/metrics")
        except httpx.HTTPError as error:
            return MemoryReading(None, f"GET /metrics has no answer ({type(error).__name__})")
        if response.status_code != httpx.codes.OK:
            return MemoryReading(None, f"GET /metrics answers {response.status_code}")
        found = resident_bytes(response.text)
        return MemoryReading(found, "" if found is not None else "/metrics says nothing of resident_memory_bytes")

    async def close(self) -> None:
        await self._client.aclose()
