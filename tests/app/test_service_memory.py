"""The memory that a service tells of itself."""

from __future__ import annotations

import pytest

from app.service_memory import resident_bytes

METRICS = """\
# HELP process_resident_memory_bytes Resident memory size in bytes.
# TYPE process_resident_memory_bytes gauge
process_resident_memory_bytes 1.5e+08
process_resident_memory_bytes_limit 7
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (METRICS, 150_000_000),
        ('ray_manta_resident_memory_bytes{pid="1",name="a}b"} 100\nray_manta_resident_memory_bytes{pid="2"} 50\n', 150),
        ("manta_requests_total 5\n", None),
        ("", None),
    ],
)
def test_resident_bytes(text: str, expected: int | None) -> None:
    assert resident_bytes(text) == expected
