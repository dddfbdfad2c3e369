"""Rates between two looks at /metrics, and what a count that began anew does to them."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from app.errors import ClusterError
from app.live_figures import Look, Totals, between, read
from serve_deployments.metrics import Gauges, Tally, render


def scraped(ok: int, error: int, *, seconds: tuple[float, ...] = (), left: int = 0) -> Mapping[str, Look]:
    """What a service tells that counted so much of version 1."""
    tally = Tally()
    for outcome, count in (("ok", ok), ("error", error), ("cancelled", left)):
        tally.count("manta_requests", ("1", "champion", outcome), count)
    tally.count("manta_requests", ("1", "pinned", "ok"), 1)
    for each in seconds:
        tally.observe("manta_request_seconds", ("1", "champion"), each)
    gauges: Gauges = {("manta_images_waiting", ("1",)): 3.0, ("manta_classifier_replicas", ("2",)): 1.0}
    return read(render(tally, gauges).decode()).versions


def test_what_is_counted_is_read() -> None:
    looks = scraped(8, 2, seconds=(0.02, 0.2), left=5)
    assert looks.keys() == {"1", "2"}
    assert (looks["1"].requests, looks["1"].failed, looks["1"].waiting) == (11, 2, 3)
    assert looks["1"].seconds[0.025] == 1
    assert looks["1"].seconds[float("inf")] == 2
    assert looks["2"] == Look(replicas=1)


def test_drift_is_read() -> None:
    assert read(render(Tally(), {}).decode()) == Totals({})
    gauges: Gauges = {("manta_drift_images", ("1",)): 250.0}
    gauges |= {("manta_drifted", ("1", "contrast")): 0.0, ("manta_drifted", ("1", "feedback")): 1.0}
    assert read(render(Tally(), gauges).decode()) == Totals({}, ("feedback",), 250)


def test_rates_between_two_looks() -> None:
    before, after = scraped(100, 0, seconds=(5.0,) * 9)["1"], scraped(116, 4, seconds=(5.0,) * 9 + (0.02,) * 20)["1"]
    figures = between(before, after, 2.0)
    assert figures.requests_per_s == 10
    assert figures.failed == 0.2
    assert figures.p50_ms == pytest.approx(20), "the middle of the bucket from 15 to 25 ms"
    assert figures.p99_ms == pytest.approx(24.9)
    assert (figures.waiting, figures.replicas) == (3, 0)


def test_without_requests_there_is_nothing_to_measure() -> None:
    look = scraped(5, 0)["1"]
    figures = between(look, look, 1.0)
    assert (figures.requests_per_s, figures.failed, figures.p50_ms, figures.p99_ms) == (0, None, None, None)
    assert between(Look(), Look(), 1.0).requests_per_s == 0


def test_a_count_that_began_anew_counts_from_there() -> None:
    figures = between(scraped(1000, 10)["1"], scraped(3, 0)["1"], 1.0)
    assert (figures.requests_per_s, figures.failed) == (4, 0)


def test_what_takes_longer_than_all_bounds() -> None:
    figures = between(Look(), scraped(1, 0, seconds=(100.0,))["1"], 1.0)
    assert figures.p99_ms == 10_000


def test_no_prometheus_text() -> None:
    with pytest.raises(ClusterError, match="no Prometheus text"):
        read("<html>1 2 3</html>")
