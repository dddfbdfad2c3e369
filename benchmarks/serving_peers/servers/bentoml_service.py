"""BentoML with two workers, each with the graph; asynchronous methods, which need no thread.

bentoml serve benchmarks.serving_peers.servers.bentoml_service:Classifier

Adaptive batching is off: it is for models that take longer than the batching does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import bentoml
from bentoml.validators import ContentType

from benchmarks.serving_peers.servers.classification import Classification, from_base64


@bentoml.service(workers=2, traffic={"timeout": 10})
class Classifier:
    def __init__(self) -> None:
        self.classification = Classification()

    @bentoml.api(route="/predict")
    async def predict(self, image: str) -> dict[str, Any]:
        return {"predictions": self.classification.answer([from_base64(image)])[0]}

    @bentoml.api(route="/predict_raw")
    async def predict_raw(self, image: Annotated[Path, ContentType("image/jpeg")], /) -> dict[str, Any]:
        return {"predictions": self.classification.answer([image.read_bytes()])[0]}

    @bentoml.api(route="/predict_batch")
    async def predict_batch(self, images: list[dict[str, str]]) -> dict[str, Any]:
        answers = self.classification.answer([from_base64(each["image"]) for each in images])
        return {"batch_predictions": [{"predictions": top} for top in answers]}
