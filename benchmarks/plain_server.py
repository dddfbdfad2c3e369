"""What the engine's server is measured against: the same /predict in plain Starlette on uvicorn, one process.

    python -m benchmarks.plain_server BUNDLE PORT

No batching and nothing but the work: orjson, base64, the product's own decoding, ONNX Runtime on one thread.
"""

from __future__ import annotations

import base64
import sys
from pathlib import Path

import cv2
import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.artifact import open_bundle
from app.imaging import decode, resize
from app.inference import OnnxClassifier
from app.predictions import top_predictions


def application(folder: Path) -> Starlette:
    bundle = open_bundle(folder)
    model = OnnxClassifier.from_bundle(bundle)
    model.warm_up()
    shape, labels = bundle.manifest.input, bundle.manifest.labels

    async def predict(request: Request) -> Response:
        body = orjson.loads(await request.body())
        image = decode(base64.b64decode(body["image"]))
        probabilities = model.predict(resize(image, shape.height, shape.width)[None])[0]
        answer = {"predictions": top_predictions(probabilities, labels, 5), "image_shape": image.shape}
        return Response(orjson.dumps(answer), media_type="application/json")

    return Starlette(routes=[Route("/predict", predict, methods=["POST"])])


if __name__ == "__main__":
    cv2.setNumThreads(1)
    uvicorn.run(application(Path(sys.argv[1])), host="127.0.0.1", port=int(sys.argv[2]), log_level="error")
