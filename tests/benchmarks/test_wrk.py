"""What is read off wrk's output."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import MantaError, NotFound
from benchmarks.wrk import RequestFiles, WrkResult, require_wrk

OUTPUT = """\
Running 4s test @ http://127.0.0.1:8123
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     9.82ms    3.10ms  31.02ms   71.10%
    Req/Sec     3.26k   211.02     3.60k    75.00%
  13010 requests in 4.00s, 4.12MB read
  Non-2xx or 3xx responses: 10
wrk-result {"answers": 13010, "duration_us": 4000000, "latency_us": {"p50": 9500, "p95": 15250, "p99": 20001, \
"max": 31020}, "errors": {"connect": 0, "read": 2, "write": 0, "status": 10, "timeout": 1}}
"""


def test_a_result() -> None:
    result = WrkResult.parse(OUTPUT)
    assert (result.answers, result.seconds) == (13010, 4.0)
    assert (result.p50_ms, result.p95_ms, result.p99_ms, result.max_ms) == (9.5, 15.25, 20.001, 31.02)
    assert result.errors == {"read": 2, "status": 10, "timeout": 1}
    assert result.failed == 13
    assert result.per_second == 3250, "an error status is no answer"


@pytest.mark.parametrize(
    ("output", "says"),
    [("unable to connect to 127.0.0.1:1 Connection refused\n", "unable to connect"), ("", "it said nothing")],
)
def test_no_result(output: str, says: str) -> None:
    with pytest.raises(MantaError, match=says):
        WrkResult.parse(output)


def test_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NotFound, match="apt-get install wrk"):
        require_wrk()


def test_bodies_are_numbered_files(tmp_path: Path) -> None:
    files = RequestFiles.write(tmp_path / "new" / "bodies", "/predict", "image/jpeg", [b"a", b"b"])
    assert [(files.folder / str(number)).read_bytes() for number in (1, 2)] == [b"a", b"b"]
    assert files.count == 2
