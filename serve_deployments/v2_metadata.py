"""What the service and its models are, in the documents of the Open Inference Protocol and its extensions.

`inputs` names the one tensor that every client can send. That image files are taken as well stands in the
metadata's `parameters`: clients such as Triton's image_client.py and perf_analyzer fill in every tensor of
`inputs`, and here only one may be given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

import app
from app.artifact import MANIFEST_FILE
from serve_deployments.batch_statistics import BatchStatistics, Duration
from serve_deployments.deployment_view import DeploymentView, VersionView
from serve_deployments.v2_request import ENCODED, IMAGES, PROBABILITIES

PLATFORM = "onnxruntime_onnx"
EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "parameters",
    "statistics",
)


def server_metadata() -> dict[str, Any]:
    return {"name": "manta", "version": app.__version__, "extensions": EXTENSIONS}


def model_metadata(deployment: DeploymentView, version: VersionView) -> dict[str, Any]:
    spec, labels = version.manifest.input, version.manifest.labels
    return {
        "name": deployment.model,
        "versions": [each.version for each in deployment.versions],
        "platform": PLATFORM,
        "inputs": [{"name": IMAGES, "datatype": "UINT8", "shape": [-1, spec.height, spec.width, 3]}],
        "outputs": [{"name": PROBABILITIES, "datatype": "FP32", "shape": [-1, len(labels)]}],
        "parameters": {
            "labels": labels,
            "alternative_inputs": [
                {
                    "name": ENCODED,
                    "datatype": "BYTES",
                    "shape": [-1],
                    "instead_of": IMAGES,
                    "content": "JPEG, PNG, BMP or WebP files of any size; in base64 where the data is JSON",
                }
            ],
        },
    }


def model_config(deployment: DeploymentView, version: VersionView, max_images: int) -> dict[str, Any]:
    """Triton's ModelConfig; dims are without the batch. The bundle keeps its labels in the manifest."""
    spec, labels = version.manifest.input, version.manifest.labels
    return {
        "name": deployment.model,
        "platform": PLATFORM,
        "backend": "onnxruntime",
        "max_batch_size": max_images,
        "input": [
            {
                "name": IMAGES,
                "data_type": "TYPE_UINT8",
                "format": "FORMAT_NHWC",
                "dims": [spec.height, spec.width, 3],
                "optional": False,
            }
        ],
        "output": [
            {
                "name": PROBABILITIES,
                "data_type": "TYPE_FP32",
                "dims": [len(labels)],
                "label_filename": MANIFEST_FILE,
            }
        ],
        "dynamic_batching": {"preferred_batch_size": [], "max_queue_delay_microseconds": 0},
        "instance_group": [{"name": version.version, "kind": "KIND_CPU", "count": version.running_replicas}],
        "parameters": {"labels": {"string_value": orjson.dumps(labels).decode()}},
    }


def model_statistics(model: str, versions: Sequence[str], statistics: Mapping[str, BatchStatistics]) -> dict[str, Any]:
    """statistics: by version; one that is not in there has not been asked yet."""
    nothing = BatchStatistics()
    return {"model_stats": [_version_statistics(model, each, statistics.get(each, nothing)) for each in versions]}


def repository_index(deployment: DeploymentView, *, ready_only: bool) -> list[dict[str, str]]:
    return [
        {
            "name": deployment.model,
            "version": each.version,
            "state": "UNAVAILABLE" if each.problem else "READY",
            "reason": each.problem or "",
        }
        for each in deployment.versions
        if not (ready_only and each.problem)
    ]


def _version_statistics(model: str, version: str, statistics: BatchStatistics) -> dict[str, Any]:
    """Preparing input and output is part of `compute_infer`, as is the way to the replica and back."""
    nothing = Duration()
    return {
        "name": model,
        "version": version,
        "last_inference": statistics.last_ms,
        "inference_count": statistics.items,
        "execution_count": statistics.batches_in_all,
        "inference_stats": {
            "success": _duration(statistics.success),
            "fail": _duration(statistics.fail),
            "queue": _duration(statistics.queue),
            "compute_input": _duration(nothing),
            "compute_infer": _duration(statistics.infer),
            "compute_output": _duration(nothing),
            "cache_hit": _duration(nothing),
            "cache_miss": _duration(nothing),
        },
        "batch_stats": [
            {
                "batch_size": size,
                "compute_input": _duration(nothing),
                "compute_infer": _duration(duration),
                "compute_output": _duration(nothing),
            }
            for size, duration in sorted(statistics.batches.items())
        ],
    }


def _duration(duration: Duration) -> dict[str, int]:
    return {"count": duration.count, "ns": duration.ns}
