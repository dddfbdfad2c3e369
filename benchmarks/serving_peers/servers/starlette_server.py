"""What a service costs without a model server: Starlette, decoding and the graph within the request.

uvicorn benchmarks.serving_peers.servers.starlette_server:app --workers 2
"""

from __future__ import annotations

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.serving_peers.servers.classification import Classification, from_base64

classification = Classification()


async def predict(request: Request) -> Response:
    body = await request.body()
    image = from_base64(orjson.loads(body)["image"]) if request.headers["content-type"] == "application/json" else body
    (predictions,) = classification.answer([image])
    return Response(orjson.dumps({"predictions": predictions}), media_type="application/json")


async def predict_batch(request: Request) -> Response:
    images = [from_base64(each["image"]) for each in orjson.loads(await request.body())["images"]]
    answers = [{"predictions": predictions} for predictions in classification.answer(images)]
    return Response(orjson.dumps({"batch_predictions": answers}), media_type="application/json")


app = Starlette(
    routes=[
        Route("/predict", predict, methods=["POST"]),
        Route("/predict/batch", predict_batch, methods=["POST"]),
    ]
)
