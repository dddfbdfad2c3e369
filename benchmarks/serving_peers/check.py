"""Whether a server answers as the graph does: what answers something else is not compared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.imaging import load
from app.inference import OnnxClassifier
from benchmarks.serving_peers.routes import Prediction, Route
from benchmarks.serving_peers.running import NotStarted, ask

TOLERANCE = 1e-4


def check_answers(url: str, route: Route, images: Sequence[bytes], reference: Sequence[OnnxClassifier]) -> None:
    """One request with these images. reference: the graphs, any of which may have answered.

    Raises NotStarted that says what is wrong.
    """
    answers = ask(url, route, images)
    size = reference[0].manifest.input
    pixels = np.stack([load(image, size.height, size.width) for image in images])
    expected = [graph.predict(pixels) for graph in reference]
    if not any(_agree(answers, rows) for rows in expected):
        raise NotStarted(f"{route.path} does not answer as the graph does")


def _agree(answers: Sequence[Sequence[Prediction]], rows: np.ndarray) -> bool:
    return len(answers) == len(rows) and all(
        all(abs(each["confidence"] - row[each["class_id"]]) < TOLERANCE for each in predictions)
        and predictions[0]["class_id"] == int(row.argmax())
        for predictions, row in zip(answers, rows, strict=True)
    )
