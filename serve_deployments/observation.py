"""A few of the images that users send, and what was answered: what drift is seen by."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from app.image_statistics import image_statistics


class Observation(NamedTuple):
    at: float
    """Seconds since the epoch."""
    bundle_uri: str
    """Of the version that answered."""
    prediction: int
    """Class id."""
    confidence: float
    brightness: float
    contrast: float
    saturation: float
    sharpness: float
    """This and the three above: `app.image_statistics`."""


class _Row(Protocol):
    @property
    def probabilities(self) -> np.ndarray: ...


class Observer:
    """Looks at one image of a request, if none was looked at for a while: an image costs 0.1 ms."""

    def __init__(self, per_s: float, note: Callable[[Observation], None]) -> None:
        """per_s: images a second at most; 0 for none."""
        self._pause_s = 1 / per_s if per_s > 0 else float("inf")
        self._note = note
        self._next = 0.0 if per_s > 0 else float("inf")

    def see(self, bundle_uri: str, pixels: Sequence[np.ndarray], rows: Sequence[_Row]) -> None:
        """pixels: uint8 [H, W, 3] each, at the input size; rows: what was answered to each."""
        now = time.monotonic()
        if now < self._next or not pixels:
            return
        self._next = now + self._pause_s
        chosen = random.randrange(len(pixels))
        probabilities = rows[chosen].probabilities
        prediction = int(probabilities.argmax())
        brightness, contrast, saturation, sharpness = image_statistics(pixels[chosen][np.newaxis])[0].tolist()
        self._note(
            Observation(
                at=time.time(),
                bundle_uri=bundle_uri,
                prediction=prediction,
                confidence=float(probabilities[prediction]),
                brightness=brightness,
                contrast=contrast,
                saturation=saturation,
                sharpness=sharpness,
            )
        )
