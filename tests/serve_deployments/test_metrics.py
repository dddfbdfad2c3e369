"""Counting, adding up routers that come and go, and the text that Prometheus reads."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.traffic_file import Guardrails
from serve_deployments.batch_statistics import BatchStatistics, SentBatch
from serve_deployments.guard import breach
from serve_deployments.metrics import COUNTERS, GAUGES, HISTOGRAMS, SECONDS, Gauges, Histogram, Tally, render
from serve_deployments.report import Report
from serve_deployments.windows import GONE_AFTER_S, KEPT_APART, Counted, Windows


def tally(ok: int = 0, error: int = 0, seconds: float = 0.004, version: str = "2") -> Tally:
    counted = Tally()
    counted.count("manta_requests", (version, "challenger", "ok"), ok)
    counted.count("manta_requests", (version, "challenger", "error"), error)
    for _ in range(ok):
        counted.observe("manta_request_seconds", (version, "challenger"), seconds)
    return counted


def report(router: str, counted: Tally, gauges: Gauges | None = None, *, items: int = 0) -> Report:
    statistics = BatchStatistics()
    if items:
        statistics.add(SentBatch(items, [0.001], 0.002, answered=True))
    return Report(
        router=router,
        revision=1,
        problem=None,
        tally=counted,
        gauges=gauges or {},
        statistics={"2": statistics},
        taken_out={},
        answers=[],
    )


def ok(counted: Tally) -> float:
    return counted.counters[("manta_requests", ("2", "challenger", "ok"))]


def test_quantiles_are_upper_bounds() -> None:
    histogram = Histogram(SECONDS)
    assert histogram.quantile(0.99) == 0
    for _ in range(98):
        histogram.observe(0.004)
    histogram.observe(0.2)
    histogram.observe(99)
    assert histogram.quantile(0.5) == 0.005
    assert histogram.quantile(0.99) == 0.25
    assert histogram.quantile(1) == float("inf")


def test_routers_add_up_and_those_that_are_gone_still_count() -> None:
    windows = Windows(Counted(), keep_s=60)
    windows.add(
        report("a", tally(5), {("manta_images_waiting", ("2",)): 1, ("manta_classifier_replicas", ("2",)): 2}), 0
    )
    windows.add(
        report("b", tally(7), {("manta_images_waiting", ("2",)): 2, ("manta_classifier_replicas", ("2",)): 2}), 0
    )
    assert ok(windows.total()) == 12
    gauges = windows.gauges()
    assert gauges["manta_images_waiting", ("2",)] == 3
    assert gauges["manta_classifier_replicas", ("2",)] == 2, "all routers see the same replicas"
    windows.add(report("b", tally(8)), GONE_AFTER_S + 1)
    windows.retire(GONE_AFTER_S + 1)
    assert ok(windows.total()) == 13
    assert windows.gauges()["manta_routers", ()] == 1


def test_a_router_that_is_heard_of_again_counts_once() -> None:
    """After a partition, or by a control that starts while routers run; its counters never fall."""
    windows = Windows(Counted(), keep_s=60)
    windows.add(report("a", tally(5)), 0)
    windows.retire(GONE_AFTER_S + 1)
    windows.add(report("a", tally(6)), GONE_AFTER_S + 2)
    assert ok(windows.total()) == 6
    after = Windows(pickle.loads(pickle.dumps(windows.counted())), keep_s=60)
    assert ok(after.total()) == 6
    after.add(report("a", tally(7)), 0)
    assert ok(after.total()) == 7


def test_routers_that_are_gone_for_good_are_summed_up() -> None:
    windows = Windows(Counted(), keep_s=60)
    for number in range(3 * KEPT_APART):
        windows.add(report(f"r{number}", tally(1), items=1), 0)
    windows.retire(GONE_AFTER_S + 1)
    assert len(windows.counted().routers) == KEPT_APART
    assert ok(windows.total()) == 3 * KEPT_APART
    assert windows.statistics()["2"].items == 3 * KEPT_APART


def test_statistics_of_the_protocol_add_up_too() -> None:
    windows = Windows(Counted(), keep_s=60)
    windows.add(report("a", Tally(), items=3), 0)
    for now in (0, GONE_AFTER_S + 1):
        windows.add(report("b", Tally(), items=5), now)
    for _ in range(2):
        found = windows.statistics()["2"]
        assert (found.items, found.batches_in_all, found.queue.count) == (8, 2, 2)
        assert {size: duration.count for size, duration in found.batches.items()} == {3: 1, 5: 1}
        assert found.infer.ns == 4_000_000
        windows.retire(GONE_AFTER_S + 1)


def test_a_repeated_report_counts_once() -> None:
    windows = Windows(Counted(), keep_s=60)
    for _ in range(3):
        windows.add(report("a", tally(5)), 0)
    assert ok(windows.total()) == 5


def test_a_window_holds_what_came_lately() -> None:
    windows = Windows(Counted(), keep_s=60)
    for second in range(100):
        windows.add(report("a", tally(10 * second)), second)
    assert ok(windows.last(10, 99)) == 100
    assert ok(windows.last(60, 99)) == 600


def test_prometheus_reads_it() -> None:
    gauges: Gauges = {("manta_images_waiting", ("2",)): 3.0}
    text = render(tally(4, 1), gauges).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families.values()
        for sample in family.samples
    }
    assert samples["manta_requests_total", "2", "challenger", "ok"] == 4
    assert samples["manta_images_waiting", "2"] == 3
    assert samples["manta_request_seconds_bucket", "0.0025", "2", "challenger"] == 0
    assert samples["manta_request_seconds_bucket", "0.005", "2", "challenger"] == 4
    assert samples["manta_request_seconds_count", "2", "challenger"] == 4
    assert samples["manta_request_seconds_sum", "2", "challenger"] == pytest.approx(0.016)


RULES = Guardrails(min_requests=50, max_error_rate=0.05, max_p99_ratio=5)


def test_a_good_challenger_keeps_its_traffic() -> None:
    assert breach(tally(100, 5), "2", "1", RULES) is None


def test_too_many_errors() -> None:
    assert breach(tally(80, 20), "2", "1", RULES) == "20.0% of 100 requests failed, more than 5.0%"
    assert breach(tally(10, 30), "2", "1", RULES) is None, "too few to judge"
    assert breach(tally(900, 100), "2", "1", RULES) is not None, "10 % is less, but of more requests"


def test_a_version_that_keeps_the_limit_is_hardly_ever_stopped_by_chance() -> None:
    """Windows are looked at all day: of those with 50 requests, one in 26 has more than 5 errors at a rate of 5 %."""
    failed = np.random.default_rng(0).binomial(50, 0.05, 20_000)
    stopped = {count for count in set(failed.tolist()) if breach(tally(50 - count, count), "2", "1", RULES)}
    assert np.isin(failed, list(stopped)).sum() <= 2


def test_a_bad_minute_of_everybody_is_not_the_challengers_fault() -> None:
    window = tally(50, 50)
    window.count("manta_requests", ("1", "champion", "ok"), 100)
    assert breach(window, "2", "1", RULES) is not None
    window.count("manta_requests", ("1", "champion", "error"), 100)
    assert breach(window, "2", "1", RULES) is None


def test_what_a_breaker_keeps_back_is_no_sign_of_health() -> None:
    window = tally(50)
    window.count("manta_fallbacks", ("2", "breaker open"), 50)
    assert "50.0% of 100 requests failed" in str(breach(window, "2", "1", RULES))


def test_clients_that_left_say_nothing() -> None:
    window = tally(100)
    window.count("manta_requests", ("2", "challenger", "cancelled"), 1000)
    assert breach(window, "2", "1", RULES) is None


def test_a_few_slow_answers_are_a_moment_of_the_machine() -> None:
    """Of sixty answers the p99 is the slowest: it alone would end every trial on a busy machine."""
    for slow, judged in ((4, False), (5, True)):
        window = tally(60, seconds=0.004)
        for _ in range(slow):
            window.observe("manta_request_seconds", ("2", "challenger"), 0.2)
        for _ in range(100):
            window.observe("manta_request_seconds", ("1", "champion"), 0.009)
        assert (breach(window, "2", "1", RULES) is not None) is judged
        assert (breach(window, "2", "1", Guardrails(max_p99_ms=100, max_p99_ratio=None)) is not None) is judged


def test_too_slow() -> None:
    window = tally(100, seconds=0.2)
    for _ in range(100):
        window.observe("manta_request_seconds", ("1", "champion"), 0.009)
    assert breach(window, "2", "1", RULES) == "p99 latency is 250 ms, more than 5 times the champion's 10 ms"
    assert "more than 100 ms" in str(breach(window, "2", None, Guardrails(max_p99_ms=100)))
    assert breach(tally(100, seconds=0.2), "2", "1", RULES) is None, "the champion has too few answers to compare with"


ROOT = Path(__file__).parents[2]


def documented(column: int) -> dict[str, tuple[str, ...]]:
    """Labels by name, of those that the table in docs/DEPLOYMENT.md has there: 1 is the service, 2 the engine."""
    text = (ROOT / "docs" / "DEPLOYMENT.md").read_text(encoding="utf-8")
    section = text.partition("## Metrics\n")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| `")]
    return {row[0].strip("`"): tuple(re.findall("`(.+?)`", row[column])) for row in rows if row[column] != "-"}


def test_the_table_of_metrics_has_the_services_names_and_labels() -> None:
    counters = {f"{name}_total": described.labels for name, described in COUNTERS.items()}
    gauges = {name: described.labels for name, described in GAUGES.items()}
    histograms = {name: described.labels for name, (described, _) in HISTOGRAMS.items()}
    assert documented(1) == {**counters, **gauges, **histograms}


def test_the_table_of_metrics_has_the_engines_names() -> None:
    code = (ROOT / "engine" / "server" / "metrics.cpp").read_text(encoding="utf-8")
    assert documented(2).keys() == set(re.findall(r'describe\(out, "(\w+)"', code))
