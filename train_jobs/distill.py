"""Train a student of any architecture on a registered version's answers, and register it.

ray job submit --working-dir . -- python -m train_jobs.distill digits@champion --model mobile
"""

from __future__ import annotations

from app.options import run_job
from app.settings import DistillSettings
from train_jobs.job import connect
from train_jobs.train import report, train


def main(settings: DistillSettings) -> None:
    report(train(settings, connect().home))


if __name__ == "__main__":
    run_job(DistillSettings, main)
