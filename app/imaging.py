"""Encoded bytes -> uint8 RGB: the one decode and resize rule of the whole product.

Training data, serving, the command line and (mirrored) `engine/` all come through here, so that a
model never sees at serving time what it did not see in training. OpenCV only.
"""

from __future__ import annotations

import functools

import cv2
import numpy as np

from app.errors import BadImage, ImageTooLarge
from app.image_header import ImageHeader, check_whole, read_header

__all__ = ["MAX_PIXELS", "RESIZE_RULE", "ImageHeader", "decode", "encode_png", "load", "read_header", "resize"]

RESIZE_RULE = "stretch-area-linear"
"""Stretch to the input size: INTER_AREA when the target has fewer pixels, else INTER_LINEAR."""

MAX_PIXELS = 64_000_000
"""Width times height. A 6000x4000 photograph has 24 million; 64 million are 192 MB decoded."""


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS, header: ImageHeader | None = None) -> np.ndarray:
    """A JPEG, PNG, BMP or WebP image as uint8 [H, W, 3] RGB, turned upright as its EXIF data says.

    Grey and palette images become RGB, alpha is dropped (not blended), 16 bits keep the upper 8.
    Raises ImageTooLarge from the header alone, before any pixel is decoded; BadImage for what is not
    an image, is cut off, or cannot be decoded. A JPEG damaged in the middle but whole in length decodes:
    libjpeg repairs what it can and only says so on stderr. header: that of the data, where it was read already.
    """
    header = header or read_header(data)
    if header.width * header.height > max_pixels:
        raise ImageTooLarge(f"the image has {header.width}x{header.height} pixels, the limit is {max_pixels:,} in all")
    check_whole(data, header)
    _silence_opencv()
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        raise BadImage(f"the {header.format.upper()} image cannot be decoded") from error
    if image is None:
        raise BadImage(f"the {header.format.upper()} image cannot be decoded")
    return image


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """uint8 [H, W, 3] stretched to [height, width, 3] by RESIZE_RULE.

    An image that already has that size is returned as it is, not copied.
    """
    old_height, old_width = image.shape[:2]
    if (old_height, old_width) == (height, width):
        return image
    shrinks = height * width < old_height * old_width
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def load(data: bytes, height: int, width: int) -> np.ndarray:
    """Encoded bytes to the model's input, uint8 [height, width, 3] RGB. Raises what `decode` raises."""
    return resize(decode(data), height, width)


def encode_png(image: np.ndarray) -> bytes:
    """uint8 [H, W, 3] RGB as PNG: lossless, so `decode` gives back the same array."""
    return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


@functools.cache
def _silence_opencv() -> None:
    """OpenCV logs every bad image on stderr, which a server must not do; the exception says it already."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
