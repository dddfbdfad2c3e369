"""The whole way as one job: images -> trained version -> champion -> live endpoint, checked over HTTP.

ray job submit --working-dir . -- python -m train_jobs.pipeline --data digits
"""

from __future__ import annotations

from collections.abc import Mapping

from app.client import HttpEvaluation, evaluate_over_http
from app.config import Home
from app.errors import GateFailed
from app.gates import Gate, require
from app.options import run_job
from app.registry import CHAMPION, ModelVersion, Registry
from app.settings import PipelineSettings, TrainSettings
from app.settings.parts import part
from cluster.deployment import put_live, service_address, start_serve
from cluster.serve_client import ServeClient
from train_jobs.convert import require_learned
from train_jobs.job import Stopwatch, connect, finish, say
from train_jobs.train import TrainedVersion, train

HTTP_ACCURACY_LOSS_LIMIT = 0.0
"""The service decodes and runs what training decoded and measured, so nothing may be lost on the way."""


def main(settings: PipelineSettings) -> None:
    job = connect()
    total = Stopwatch()
    # First: a port in use stops the job now and not after the training; and Serve starts meanwhile.
    serve = ServeClient(job.dashboard_url)
    address = service_address(serve.state(), settings.port)
    start_serve(serve, address)
    trained = train(part(settings, TrainSettings), job.home)
    require_learned(trained.converted)
    watch = Stopwatch()
    url, measured = put_live_and_check(serve, job.home, trained, address.port)
    serve_seconds = watch.restart()
    version = promote(trained, job.home)
    finish(
        {
            **result_of(trained, version, measured),
            "url": url,
            "seconds": {
                "train": round(trained.train_seconds, 2),
                "convert": round(trained.convert_seconds, 2),
                "serve": round(serve_seconds, 2),
                "total": round(total.restart(), 2),
            },
        }
    )


def put_live_and_check(
    serve: ServeClient, home: Home, trained: TrainedVersion, port: int
) -> tuple[str, HttpEvaluation]:
    """Deploys the new version and sends it the test split; what was served before comes back if that fails."""
    version = trained.converted.version
    measured: list[HttpEvaluation] = []

    def check(url: str) -> None:
        say(f"live at {url}")
        measured.append(check_over_http(url, trained))

    say(f"deploying {version.reference} on Ray Serve")
    url = put_live(
        serve,
        home,
        version.name,
        version=version.version,
        bundle_uri=version.bundle_uri,
        port=port,
        on_progress=_say_status,
        check=check,
    )
    return url, measured[0]


def promote(trained: TrainedVersion, home: Home) -> ModelVersion:
    """Makes the version the champion, now that it is live and passed every gate; returns it with that alias."""
    registry = Registry(home)
    registry.promote(
        trained.converted.version,
        CHAMPION,
        who="pipeline",
        why=f"trained by run {trained.run.name}, test accuracy {trained.converted.onnx_accuracy:.4f}",
    )
    version = registry.resolve(f"{trained.converted.version.name}@{CHAMPION}")
    say(f"{version.reference} is now {CHAMPION}")
    return version


def check_over_http(url: str, trained: TrainedVersion) -> HttpEvaluation:
    """Sends the whole test split as PNG. Raises GateFailed when the service answers worse than the file."""
    test = trained.dataset.test
    say(f"sending {len(test.labels):,} test images over HTTP")
    measured = evaluate_over_http(url, test.images, test.labels)
    expected = trained.converted.version.version
    if measured.versions != {expected}:
        raise GateFailed(f"version {expected} was deployed, but {', '.join(sorted(measured.versions))} answered")
    loss = trained.converted.onnx_accuracy - measured.accuracy
    require([Gate("loss of accuracy over HTTP", loss, HTTP_ACCURACY_LOSS_LIMIT)])
    say(f"test accuracy over HTTP {measured.accuracy:.2%}")
    return measured


def result_of(trained: TrainedVersion, version: ModelVersion, measured: HttpEvaluation) -> dict[str, object]:
    converted = trained.converted
    return {
        "version": version.reference,
        "aliases": list(version.aliases),
        "run": trained.run.name,
        "val_accuracy": trained.best.val_accuracy,
        "test_accuracy": {
            "pytorch": converted.pytorch_accuracy,
            "onnx": converted.onnx_accuracy,
            "http": measured.accuracy,
        },
        "test_accuracy_tta": trained.tta_accuracy,
        "test_images": len(trained.dataset.test.labels),
        "variants": converted.variants(),
        "latency_ms": {"p50": measured.p50_ms, "p99": measured.p99_ms},
        "artifacts": str(version.folder),
        "curves": str(trained.run.curves_file),
        "tracking_uri": trained.tracking_uri,
    }


def _say_status(statuses: Mapping[str, str]) -> None:
    say("  " + ", ".join(f"{name} {status.lower()}" for name, status in statuses.items()))


if __name__ == "__main__":
    run_job(PipelineSettings, main)
