"""Choose the threshold of a cascade of two versions on validation data, and measure it on the test split.

ray job submit --working-dir . -- python -m train_jobs.cascade photos/2 photos/1 --max-loss 0.2
"""

from __future__ import annotations

from dataclasses import asdict

import yaml

from app.atomic_file import write_atomically
from app.cascade import Answered, Cost, Point, cheapest, curve, thinned
from app.conversion.latency import interleaved_latency_ms
from app.conversion.variants import load_variant
from app.datasets import Split
from app.errors import BadInput
from app.evaluate import Predict, predict_in_batches
from app.options import run_job
from app.registry import Registry
from app.settings import CascadeSettings
from train_jobs.data import dataset_for
from train_jobs.job import connect, finish, say
from train_jobs.side_by_side import open_alike, report_file


def main(settings: CascadeSettings) -> None:
    home = connect().home
    (fast_version, fast), (accurate_version, accurate) = open_alike(Registry(home), (settings.fast, settings.accurate))
    versions = [fast_version, accurate_version]
    if fast_version.name != accurate_version.name:
        raise BadInput(
            f"{fast_version.reference} and {accurate_version.reference} are of two models, and a service holds one: "
            "give them the same --name when you train or convert"
        )
    dataset = dataset_for(accurate.manifest, settings.data, home)
    models = {
        "fast": load_variant(fast.variant_path(settings.fast_variant)),
        "accurate": load_variant(accurate.variant_path(settings.accurate_variant)),
    }
    latency = interleaved_latency_ms(models, dataset.val.images, batch_sizes=(1,))
    cost = Cost(fast=latency["fast"]["1"], accurate=latency["accurate"]["1"])
    val, test = (_answered(models, split) for split in (dataset.val, dataset.test))
    points = curve(val, cost)
    chosen = cheapest(points, val.accurate_alone - settings.max_loss / 100)
    held_out = test.at(chosen.threshold, cost)
    names = " -> ".join(version.reference for version in versions)
    _say(f"validation, {settings.accurate} alone", val.accurate_alone, 1.0, cost.accurate)
    _say_point("validation, cascade", chosen)
    _say(f"test, {settings.accurate} alone", test.accurate_alone, 1.0, cost.accurate)
    _say_point("test, cascade", held_out)
    block = {
        "auto": {"fast": fast_version.version, "accurate": accurate_version.version, "threshold": chosen.threshold}
    }
    file = report_file(home, "cascade", versions, "yaml")
    write_atomically(
        file,
        f"# {names}: {held_out.accuracy:.4f} on the test split at {held_out.cost_ms:.3f} ms an image,\n"
        f"# where the accurate one alone has {test.accurate_alone:.4f} at {cost.accurate:.3f} ms.\n"
        + yaml.safe_dump({"quality": block}, sort_keys=False),
    )
    finish(
        {
            "fast": fast_version.reference,
            "accurate": accurate_version.reference,
            "cost_ms": asdict(cost),
            "validation": {"accurate_alone": val.accurate_alone, **asdict(chosen)},
            "test": {"accurate_alone": test.accurate_alone, **asdict(held_out)},
            "curve": [asdict(point) for point in thinned(points)],
            "quality": block,
            "file": str(file),
        }
    )


def _answered(models: dict[str, Predict], split: Split) -> Answered:
    return Answered.of(
        fast=predict_in_batches(models["fast"], split.images),
        accurate=predict_in_batches(models["accurate"], split.images),
        labels=split.labels,
    )


def _say_point(name: str, point: Point) -> None:
    _say(name, point.accuracy, point.share, point.cost_ms)


def _say(name: str, accuracy: float, share: float, cost_ms: float) -> None:
    say(f"{name:>40}  accuracy {accuracy:.2%}  accurate model asked for {share:.1%}  {cost_ms:.3f} ms an image")


if __name__ == "__main__":
    run_job(CascadeSettings, main)
