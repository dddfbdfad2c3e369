"""What any server must give Triton's own HTTP client, and what the tests of each send it.

Those tests subclass `TritonContract`, with a fixture `client` of a server that has versions 1 and perhaps 2 of `MODEL`.
"""

from __future__ import annotations

import numpy as np
import pytest
import tritonclient.http as triton

from tests.serve_deployments.fakes import colour_png

MODEL = "colours"
NAMES = ("red", "green", "blue")
PIXELS = np.zeros((3, 8, 8, 3), np.uint8)
for channel in range(3):
    PIXELS[channel, ..., channel] = 255


def images(pixels: np.ndarray = PIXELS, *, binary: bool = True) -> list[triton.InferInput]:
    tensor = triton.InferInput("images", list(pixels.shape), "UINT8")
    tensor.set_data_from_numpy(pixels, binary_data=binary)
    return [tensor]


def encoded(*files: bytes) -> list[triton.InferInput]:
    tensor = triton.InferInput("encoded", [len(files)], "BYTES")
    tensor.set_data_from_numpy(np.array(files, np.object_))
    return [tensor]


def output(*, binary: bool = True, classes: int = 0) -> list[triton.InferRequestedOutput]:
    return [triton.InferRequestedOutput("probabilities", binary_data=binary, class_count=classes)]


def winners(result: triton.InferResult) -> list[int]:
    probabilities = result.as_numpy("probabilities")
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-6)
    return [int(row) for row in probabilities.argmax(1)]


class TritonContract:
    @pytest.mark.parametrize("send_binary", [True, False])
    @pytest.mark.parametrize("get_binary", [True, False])
    def test_infer(self, client: triton.InferenceServerClient, send_binary: bool, get_binary: bool) -> None:
        result = client.infer(MODEL, images(binary=send_binary), outputs=output(binary=get_binary), request_id="mine")
        assert winners(result) == [0, 1, 2]
        assert result.get_response()["id"] == "mine"
        assert result.get_response()["model_version"] in ("1", "2")
        assert result.get_output("probabilities")["shape"] == [3, 3]

    def test_all_outputs_come_without_being_asked_for(self, client: triton.InferenceServerClient) -> None:
        assert winners(client.infer(MODEL, images())) == [0, 1, 2]

    @pytest.mark.parametrize("binary", [True, False])
    def test_classification(self, client: triton.InferenceServerClient, binary: bool) -> None:
        result = client.infer(MODEL, images(), outputs=output(binary=binary, classes=2))
        texts = result.as_numpy("probabilities")
        assert texts.shape == (3, 2)
        for index, row in enumerate(texts):
            (value, place, label), (second, *_) = (
                (text.decode() if isinstance(text, bytes) else text).split(":") for text in row
            )
            assert (int(place), label) == (index, NAMES[index])
            assert 1 >= float(value) > 0.99 > float(second) >= 0

    def test_encoded_images_small_and_large(self, client: triton.InferenceServerClient) -> None:
        files = [colour_png(2), colour_png(0, 40, 30), colour_png(1, 500, 700)]
        assert winners(client.infer(MODEL, encoded(*files))) == [2, 0, 1]

    def test_encoded_and_pixels_agree(self, client: triton.InferenceServerClient) -> None:
        by_pixels = client.infer(MODEL, images(), model_version="1").as_numpy("probabilities")
        by_files = client.infer(MODEL, encoded(*map(colour_png, range(3))), model_version="1").as_numpy("probabilities")
        np.testing.assert_array_equal(by_pixels, by_files)

    def test_many_at_once_each_get_their_own(self, client: triton.InferenceServerClient) -> None:
        order = [0, 2, 1, 1, 0, 2, 2, 0] * 10
        asked = [client.async_infer(MODEL, images(PIXELS[index : index + 1]), request_id=str(index)) for index in order]
        results = [request.get_result(timeout=30) for request in asked]
        assert [winners(result) for result in results] == [[index] for index in order]
        assert [result.get_response()["id"] for result in results] == list(map(str, order))
