"""LitServe at the settings its documentation recommends for many small requests.

python -m benchmarks.serving_peers.servers.litserve_server PORT

Two API servers, one worker that gets up to 32 requests at once, or what came within 2 ms. A request has one image or
several; raw bytes come as a multipart file, the one form of them that LitServe hands to a worker.
"""

from __future__ import annotations

import sys

import litserve
import numpy as np

from benchmarks.serving_peers.servers.classification import Classification, from_base64


class Classifier(litserve.LitAPI):
    def setup(self, device: str) -> None:  # noqa: ARG002 (LitServe calls it with one)
        self.classification = Classification()

    # No annotation: LitServe would take it for the type that FastAPI validates requests with.
    def decode_request(self, request) -> np.ndarray:  # noqa: ANN001
        if "images" in request:
            images = [from_base64(each["image"]) for each in request["images"]]
        elif isinstance(request["image"], str):
            images = [from_base64(request["image"])]
        else:
            images = [request["image"].file.read()]
        return self.classification.pixels(images)

    def batch(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        return inputs

    def predict(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        probabilities = self.classification.probabilities(np.concatenate(inputs))
        return np.split(probabilities, np.cumsum([len(images) for images in inputs])[:-1])

    def unbatch(self, output: list[np.ndarray]) -> list[np.ndarray]:
        return output

    def encode_response(self, output):  # noqa: ANN001, ANN201
        return {"batch_predictions": [{"predictions": top} for top in self.classification.top(output)]}


if __name__ == "__main__":
    server = litserve.LitServer(
        Classifier(max_batch_size=32, batch_timeout=0.002), accelerator="cpu", workers_per_device=1, timeout=30
    )
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        num_api_servers=2,
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )
