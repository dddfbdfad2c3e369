"""Compare every format of one or more versions: size, accuracy, error, latency, throughput, memory.

ray job submit --working-dir . -- python -m train_jobs.compare digits/1 digits/2
"""

from __future__ import annotations

from app.comparison import compare
from app.comparison_report import write_report
from app.options import run_job
from app.registry import Registry
from app.settings import CompareSettings
from train_jobs.data import dataset_for
from train_jobs.job import connect, finish, say
from train_jobs.side_by_side import open_alike, report_file


def main(settings: CompareSettings) -> None:
    home = connect().home
    registry = Registry(home)
    found = open_alike(registry, settings.versions)
    dataset = dataset_for(found[0][1].manifest, settings.data, home)
    say(f"measuring on {len(dataset.test.labels):,} test images; latency comes last, all formats in turns")
    comparison = compare([(version.reference, bundle) for version, bundle in found], dataset, data=dataset.name)
    versions = [version for version, _ in found]
    report = report_file(home, "compare", versions, "html")
    write_report(comparison, report)
    for version in versions:
        registry.log_file(version.run_id, report)
    finish({**comparison.to_json(), "report": str(report)})


if __name__ == "__main__":
    run_job(CompareSettings, main)
