"""Rows and ratios of the serving benchmark, from made-up runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.machine import Machine
from benchmarks.report import Report
from benchmarks.serving_page import write_page
from benchmarks.serving_peers.manta import ONE_VERSION, TWO_VERSIONS
from benchmarks.serving_peers.peers import STARLETTE
from benchmarks.serving_peers.routes import BATCH, JSON
from benchmarks.serving_results import CLASSIFIER, PROPORTIONAL, UNBATCHED, Fact, ServingResults, ServingRun
from benchmarks.wrk import WrkResult


def run(
    arrangement: str,
    rate: float,
    *,
    kind: str = JSON,
    clients: int = 32,
    p50_ms: float = 1.0,
    p99_ms: float = 10.0,
    errors: dict[str, int] | None = None,
    one_core: bool = False,
) -> ServingRun:
    load = WrkResult(
        answers=round(4 * rate),
        seconds=4.0,
        p50_ms=p50_ms,
        p95_ms=(p50_ms + p99_ms) / 2,
        p99_ms=p99_ms,
        max_ms=2 * p99_ms,
        errors=errors or {},
    )
    return ServingRun(
        arrangement=arrangement, kind=kind, clients=clients, load=load, cpu_seconds=4.0, one_core=one_core
    )


def results() -> ServingResults:
    """Two rounds; the machine is half as fast in the second."""
    found = ServingResults()
    for speed in (1.0, 0.5):
        found.runs += [
            run(ONE_VERSION, 3000 * speed, p99_ms=12 / speed),
            run(TWO_VERSIONS, 1500 * speed),
            run(STARLETTE, 4000 * speed),
            run("LitServe", 1000 * speed, p99_ms=24 / speed),
            run("BentoML", 800 * speed, p99_ms=6 / speed),
            run(ONE_VERSION, 500 * speed, clients=1, p50_ms=2 / speed),
            run(UNBATCHED, 500 * speed, clients=1, p50_ms=1.6 / speed),
            run(ONE_VERSION, 2000 * speed, clients=8, p99_ms=20 / speed),
            run(ONE_VERSION, 100 * speed, kind=BATCH),
        ]
        found.facts += [
            Fact(arrangement=ONE_VERSION, what=CLASSIFIER, unit="MB", value=256),
            Fact(arrangement=ONE_VERSION, what=PROPORTIONAL, unit="MB", value=900),
        ]
    return found


def test_the_best_peer_is_the_fastest_model_server() -> None:
    """Not the plain server, which does less."""
    assert results().best_peer == "LitServe"


def test_ratios_are_taken_within_a_round() -> None:
    ratios = {ratio.name: ratio for ratio in results().ratios()}
    medians = {name: ratio.figures.median for name, ratio in ratios.items()}
    assert medians == pytest.approx(
        {
            "one_version_vs_best_peer": 3.0,
            "two_versions_vs_best_peer": 1.5,
            "p99_vs_best_peer": 0.5,
            "one_version_vs_starlette": 0.75,
            "lone_request_vs_unbatched": 1.25,
            "p99_at_8_clients_vs_50_ms": 0.6,
            "classifier_memory_vs_512_mb": 0.5,
        }
    )
    assert all(ratio.met for ratio in ratios.values())
    assert ratios["one_version_vs_best_peer"].figures.values == (3.0, 3.0)


@pytest.mark.parametrize(
    ("left_out", "names"),
    [
        (("LitServe", "BentoML"), {"one_version_vs_best_peer", "two_versions_vs_best_peer", "p99_vs_best_peer"}),
        ((STARLETTE,), {"one_version_vs_starlette"}),
        ((UNBATCHED,), {"lone_request_vs_unbatched"}),
    ],
)
def test_a_ratio_without_its_other_side_is_left_out(left_out: tuple[str, ...], names: set[str]) -> None:
    whole, found = results(), results()
    for name in left_out:
        found.leave_out(name, "does not start")
    assert {ratio.name for ratio in whole.ratios()} - {ratio.name for ratio in found.ratios()} == names
    assert found.missing == dict.fromkeys(left_out, "does not start")
    assert not {run.arrangement for run in found.runs} & set(left_out)


def test_what_a_run_says() -> None:
    batch = run("x", 100, kind=BATCH, errors={"status": 40})
    assert batch.load.per_second == 90
    assert batch.images_per_second == 32 * 90
    assert batch.cpu_ms == 10


def test_rows_have_every_figure_of_every_load() -> None:
    rows = {row.name: row for row in results().rows()}
    rate = rows[f"requests/s: {JSON}, 32 clients: {ONE_VERSION}"]
    assert (rate.unit, rate.figures.values) == ("1/s", (3000, 1500))
    assert rows[f"p50: {JSON}, 1 client: {UNBATCHED}"].figures.values == (1.6, 3.2)
    assert rows[f"{CLASSIFIER}: {ONE_VERSION}"].figures.median == 256
    assert len(rows) == 9 * 7 + 2


def test_the_table_puts_arrangements_of_a_load_together() -> None:
    found = results()
    found.runs.append(run(ONE_VERSION, 700, one_core=True, errors={"timeout": 3}))
    lines = found.table().splitlines()
    loads = [line.partition(":")[0] for line in lines[1:]]
    assert loads == [
        "JSON, 1 client",
        "JSON, 1 client",
        "JSON, 8 clients",
        *["JSON, 32 clients"] * 5,
        "batch of 32, 32 clients",
        "JSON, 32 clients, one core",
    ]
    assert lines[-1].endswith("timeout 3")


def test_the_page(tmp_path: Path) -> None:
    found = results()
    found.missing["MLServer"] = "no network"
    machine = Machine(processor="Abacus", instructions=(), cores=2, memory_gib=1, system="Linux", load=0)
    report = Report(
        machine=machine, versions={"wrk": "4"}, rows=found.rows(), ratios=found.ratios(), missing=found.missing
    )
    write_page(found, report, tmp_path / "new" / "page.html")
    text = (tmp_path / "new" / "page.html").read_text()
    assert "MLServer: no network" in text
    assert "one_version_vs_best_peer" in text
    assert text.count("<svg") == 2
    assert report.to_dict()["missing"] == {"MLServer": "no network"}
