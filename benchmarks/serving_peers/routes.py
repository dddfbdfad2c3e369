"""The three kinds of requests that are measured, and how an arrangement takes them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

JSON, RAW, BATCH = "JSON", "raw JPEG", "batch of 32"
KINDS = (JSON, RAW, BATCH)
BATCH_SIZE = 32

Prediction = Mapping[str, Any]
"""`class_id` and `confidence`, as `app.predictions` writes them."""


Encode = Callable[[Sequence[bytes]], bytes]
"""Encoded images to a body."""
Read = Callable[[Any], list[Sequence[Prediction]]]
"""An answer's JSON to the predictions of each image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    path: str
    content_type: str
    encode: Encode
    read: Read


def text(image: bytes) -> str:
    return base64.b64encode(image).decode()


def single(images: Sequence[bytes]) -> bytes:
    return json.dumps({"image": text(images[0])}).encode()


def raw(images: Sequence[bytes]) -> bytes:
    return images[0]


def batch(images: Sequence[bytes]) -> bytes:
    return json.dumps({"images": [{"image": text(image)} for image in images]}).encode()


def read_single(answer: Any) -> list[Sequence[Prediction]]:
    return [answer["predictions"]]


def read_batch(answer: Any) -> list[Sequence[Prediction]]:
    return [each["predictions"] for each in answer["batch_predictions"]]


BOUNDARY = "manta-benchmark"


def multipart(images: Sequence[bytes]) -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="image.jpg"\r\n'
    return f"{head}Content-Type: image/jpeg\r\n\r\n".encode() + images[0] + f"\r\n--{BOUNDARY}--\r\n".encode()


def inference_protocol(images: Sequence[bytes]) -> bytes:
    tensor = {
        "name": "image",
        "shape": [len(images), 1],
        "datatype": "BYTES",
        "parameters": {"content_type": "base64"},
        "data": [text(image) for image in images],
    }
    return json.dumps({"inputs": [tensor]}).encode()


def read_inference_protocol(answer: Any) -> list[Sequence[Prediction]]:
    return [json.loads(each) for each in answer["outputs"][0]["data"]]


OWN_ROUTES: Mapping[str, Route] = {
    JSON: Route(path="/predict", content_type="application/json", encode=single, read=read_single),
    RAW: Route(path="/predict", content_type="image/jpeg", encode=raw, read=read_single),
    BATCH: Route(path="/predict/batch", content_type="application/json", encode=batch, read=read_batch),
}
"""Manta's, and those of the plain server."""
