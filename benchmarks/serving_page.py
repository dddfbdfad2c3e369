"""The serving benchmark as one HTML page: ratios, throughput and latency by clients, CPU, and every figure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from app.atomic_file import write_atomically
from app.html_page import drawing, heading, page, paragraph, table, table_row
from benchmarks.figures import Figures
from benchmarks.report import Report, number_text, spread_text
from benchmarks.serving_peers.manta import ONE_VERSION, TWO_VERSIONS
from benchmarks.serving_peers.peers import PEERS
from benchmarks.serving_peers.routes import BATCH, BATCH_SIZE, JSON, KINDS
from benchmarks.serving_results import CLIENTS, PROPORTIONAL, ServingResults, ServingRun, errors_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOAD_COLUMNS = ("requests/s", "min..max (runs)", "images/s", "p50 ms", "p95 ms", "p99 ms", "CPU ms", "errors")


def write_page(results: ServingResults, report: Report, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = "; ".join(
        f"{peer.name}: {peer.settings}" for peer in PEERS.values() if peer.name in results.arrangements
    )
    parts = [
        paragraph(f"{report.heading}. Medians of runs with wrk on the same machine, which took part of its cores."),
        paragraph(f"{settings}."),
        *(paragraph(f"Not measured: {what}: {reason}") for what, reason in results.missing.items()),
        table(("ratio", "median", "min..max (runs)", "bar"), map(table_row, report.ratio_cells)),
        heading("Images a second, and latency of JSON requests"),
        drawing(11, 7.2, lambda figure: _draw_loads(figure, results)),
        heading("CPU and memory"),
        drawing(11, 3.6, lambda figure: _draw_costs(figure, results)),
        *(part for kind in KINDS for part in (heading(kind), _load_table(results, kind))),
        heading("Everything else"),
        table(("what", "median", "min..max (runs)", "unit"), map(table_row, _fact_cells(results))),
    ]
    write_atomically(path, page("Serving: Manta beside other servers", *parts))


def _fact_cells(results: ServingResults) -> list[tuple[str, str, str, str]]:
    return [
        (row.name, number_text(row.figures.median), spread_text(row.figures), row.unit) for row in results.fact_rows()
    ]


def _clients(results: ServingResults, kind: str) -> list[int]:
    return sorted({run.clients for run in results.runs if run.kind == kind and not run.one_core})


def _load_table(results: ServingResults, kind: str) -> str:
    loads = [(clients, False) for clients in _clients(results, kind)] + ([(CLIENTS, True)] if kind == JSON else [])
    return table(
        ("", *LOAD_COLUMNS),
        (
            _load_row(f"{clients} clients{', one core' if one_core else ''}: {arrangement}", runs)
            for clients, one_core in loads
            for arrangement in results.arrangements
            if (runs := results.of(arrangement, kind, clients, one_core=one_core))
        ),
    )


def _load_row(name: str, runs: Sequence[ServingRun]) -> str:
    rate = Figures.of([run.load.per_second for run in runs])
    return table_row(
        (
            name,
            number_text(rate.median),
            spread_text(rate),
            number_text(_median(runs, lambda run: run.images_per_second)),
            number_text(_median(runs, lambda run: run.load.p50_ms)),
            number_text(_median(runs, lambda run: run.load.p95_ms)),
            number_text(_median(runs, lambda run: run.load.p99_ms)),
            number_text(_median(runs, lambda run: run.cpu_ms)),
            errors_text(runs),
        )
    )


def _median(runs: Sequence[ServingRun], value: Callable[[ServingRun], float]) -> float:
    return Figures.of([value(run) for run in runs]).median


def _draw_loads(figure: Figure, results: ServingResults) -> None:
    panels = figure.subplots(2, 3).ravel().tolist()
    for panel, kind in zip(panels, KINDS, strict=False):
        _lines(panel, results, kind, lambda run: run.images_per_second)
        panel.set_title(kind)
        panel.set_ylabel("images/s")
    latencies: tuple[tuple[str, Callable[[ServingRun], float]], ...] = (
        ("p50", lambda run: run.load.p50_ms),
        ("p95", lambda run: run.load.p95_ms),
        ("p99", lambda run: run.load.p99_ms),
    )
    for panel, (name, value) in zip(panels[3:], latencies, strict=True):
        _lines(panel, results, JSON, value)
        panel.set_title(f"{JSON}, {name}")
        panel.set_ylabel("ms")
        panel.set_yscale("log")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)


def _lines(panel: Axes, results: ServingResults, kind: str, value: Callable[[ServingRun], float]) -> None:
    """One line for each arrangement; clients are spaced evenly."""
    places = _clients(results, kind)
    for arrangement in results.arrangements:
        measured = [(index, results.of(arrangement, kind, clients)) for index, clients in enumerate(places)]
        points = [(index, _median(runs, value)) for index, runs in measured if runs]
        if len(points) == len(places):  # what was measured at one number of clients only is in the tables
            panel.plot(*zip(*points, strict=True), marker="o", label=arrangement)
    panel.set_xticks(range(len(places)), [str(clients) for clients in places])
    panel.set_xlabel("clients")
    panel.grid(alpha=0.3)


def _draw_costs(figure: Figure, results: ServingResults) -> None:
    panels = figure.subplots(1, 3, sharey=True)
    json_cpu = {
        name: _median(runs, lambda run: run.cpu_ms)
        for name in results.arrangements
        if (runs := results.of(name, JSON, CLIENTS))
    }
    batch_cpu = {
        name: _median(runs, lambda run: run.cpu_ms / BATCH_SIZE)
        for name in results.arrangements
        if (runs := results.of(name, BATCH, CLIENTS))
    }
    used = {
        name: Figures.of(values).median
        for name in results.arrangements
        if (values := results.values(name, PROPORTIONAL))
    }
    _bars(panels[0], json_cpu, f"server CPU, ms a request\nJSON, {CLIENTS} clients")
    _bars(panels[1], batch_cpu, f"server CPU, ms an image\n{BATCH}, {CLIENTS} clients")
    _bars(panels[2], used, "memory, MB (PSS)")


def _bars(panel: Axes, values: dict[str, float], label: str) -> None:
    names = list(values)[::-1]
    colours = ["tab:orange" if name in (ONE_VERSION, TWO_VERSIONS) else "tab:blue" for name in names]
    panel.barh(names, [values[name] for name in names], color=colours)
    panel.set_xlabel(label)
    panel.grid(alpha=0.3, axis="x")
