"""An MLServer runtime: base64 images by the Open Inference Protocol, raw ones by a handler of its own.

mlserver start FOLDER, where FOLDER has a model-settings.json that names this class
"""

from __future__ import annotations

from typing import Any

from fastapi import Request
from mlserver import MLModel
from mlserver.codecs import Base64Codec, StringCodec
from mlserver.handlers import custom_handler
from mlserver.types import InferenceRequest, InferenceResponse
from orjson import dumps

from benchmarks.serving_peers.servers.classification import Classification


class Classifier(MLModel):
    async def load(self) -> bool:
        self.classification = Classification()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """One BYTES tensor of base64 images; answers with a JSON text for each."""
        answers = self.classification.answer(Base64Codec.decode_input(payload.inputs[0]))
        output = StringCodec.encode_output("predictions", [dumps(top).decode() for top in answers])
        return InferenceResponse(model_name=self.name, outputs=[output])

    @custom_handler(rest_path="/predict_raw")
    async def predict_raw(self, request: Request) -> dict[str, Any]:
        return {"predictions": self.classification.answer([await request.body()])[0]}
