"""Compare every format of one or more versions: size, accuracy, error, latency, throughput, memory.

ray job submit --working-dir . -- python -m train_jobs.compare digits/1 digits/2
"""

from __future__ import annotations

from pathlib import Path

from app.artifact import open_bundle
from app.comparison import compare
from app.comparison_report import write_report
from app.config import Home
from app.errors import BadInput
from app.options import run_job
from app.registry import Registry
from app.settings import CompareSettings
from train_jobs.data import dataset_for
from train_jobs.job import connect, finish, say


def main(settings: CompareSettings) -> None:
    home = connect().home
    registry = Registry(home)
    versions = [registry.resolve(reference) for reference in settings.versions]
    bundles = [(version.reference, open_bundle(version.folder)) for version in versions]
    first = bundles[0][1].manifest
    for name, bundle in bundles[1:]:
        if (bundle.manifest.labels, bundle.manifest.input) != (first.labels, first.input):
            raise BadInput(f"{name} has other classes or another input than {bundles[0][0]}")
    dataset = dataset_for(first, settings.data, home)
    say(f"measuring on {len(dataset.test.labels):,} test images; latency comes last, all formats in turns")
    comparison = compare(bundles, dataset, data=dataset.name)
    report = _report_file(home, [name for name, _ in bundles])
    report.parent.mkdir(parents=True, exist_ok=True)
    write_report(comparison, report)
    for version in versions:
        registry.log_file(version.run_id, report)
    finish({**comparison.to_json(), "report": str(report)})


def _report_file(home: Home, names: list[str]) -> Path:
    return home.reports / ("compare-" + "-".join(name.replace("/", "-") for name in names) + ".html")


if __name__ == "__main__":
    run_job(CompareSettings, main)
