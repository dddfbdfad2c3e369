"""The answer to an infer request of the Open Inference Protocol: JSON, or JSON with binary data behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from app.predictions import top_predictions
from serve_deployments.v2_request import HEADER_LENGTH, PROBABILITIES, OutputFormat
from serve_deployments.v2_tensors import bytes_to_binary


def encode_answer(
    head: Mapping[str, Any], probabilities: np.ndarray, labels: Sequence[str], wanted: OutputFormat
) -> tuple[bytes, dict[str, str]]:
    """`head`: the members beside `outputs`; probabilities: float32 [N, C]. Returns body and headers."""
    if wanted.binary:
        return _with_binary(head, *binary_tensor(probabilities, labels, wanted.classes))
    if wanted.classes is None:
        return _json(head, _numbers(probabilities), np.ascontiguousarray(probabilities, np.float32).ravel())
    texts = _texts(probabilities, labels, wanted.classes)
    return _json(head, _words(len(probabilities), texts), texts)


def binary_tensor(
    probabilities: np.ndarray, labels: Sequence[str], classes: int | None
) -> tuple[dict[str, Any], bytes]:
    """Name, datatype and shape of the output, and its bytes. classes: as text, this many; None for the numbers."""
    if classes is None:
        return _numbers(probabilities), np.ascontiguousarray(probabilities, "<f4").tobytes()
    texts = _texts(probabilities, labels, classes)
    return _words(len(probabilities), texts), bytes_to_binary([text.encode() for text in texts])


def classification(row: np.ndarray, labels: Sequence[str], classes: int) -> list[str]:
    """The likeliest classes of one row [C] as Triton writes them: "value:index:label"."""
    return [
        f"{each['confidence']:f}:{each['class_id']}:{each['class_name']}"
        for each in top_predictions(row, labels, classes)
    ]


def _numbers(probabilities: np.ndarray) -> dict[str, Any]:
    return {"name": PROBABILITIES, "datatype": "FP32", "shape": probabilities.shape}


def _words(rows: int, texts: Sequence[str]) -> dict[str, Any]:
    return {"name": PROBABILITIES, "datatype": "BYTES", "shape": (rows, len(texts) // rows)}


def _texts(probabilities: np.ndarray, labels: Sequence[str], classes: int) -> list[str]:
    return [text for row in probabilities for text in classification(row, labels, classes)]


def _json(head: Mapping[str, Any], tensor: dict[str, Any], data: object) -> tuple[bytes, dict[str, str]]:
    body = orjson.dumps({**head, "outputs": [{**tensor, "data": data}]}, option=orjson.OPT_SERIALIZE_NUMPY)
    return body, {"Content-Type": "application/json"}


def _with_binary(head: Mapping[str, Any], tensor: dict[str, Any], data: bytes) -> tuple[bytes, dict[str, str]]:
    tensor["parameters"] = {"binary_data_size": len(data)}
    header = orjson.dumps({**head, "outputs": [tensor]})
    return header + data, {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(header))}
