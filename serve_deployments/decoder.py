"""Encoded images -> model input, without holding up the event loop."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from app.artifact import InputSpec
from app.errors import BadImage
from app.imaging import ImageHeader, decode, read_header, resize

BYTES_PER_PIXEL = 4
"""A file with more bytes than this per allowed pixel goes to a thread too: reading it takes time of its own."""


@dataclass(slots=True)
class Decoded:
    pixels: np.ndarray
    """uint8 [H, W, 3] RGB at the model's input size."""
    shape: tuple[int, int, int]
    """The image's own height, width and channels."""


class Decoder:
    """Decodes a request's images inline when they are small all together, else in one of a few threads."""

    def __init__(self, *, inline_pixels: int, threads: int) -> None:
        self._inline_pixels = inline_pixels
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="decode")

    async def decode(self, images: Sequence[bytes], to: InputSpec) -> list[Decoded | BadImage]:
        """One entry per image, in order: a bad image is returned, not raised."""
        headers = self._headers_of_small(images)
        if headers is not None:
            return [_decode_one(data, header, to) for data, header in zip(images, headers, strict=True)]
        return await asyncio.get_running_loop().run_in_executor(self._threads, _decode_all, images, to)

    def _headers_of_small(self, images: Sequence[bytes]) -> list[ImageHeader | BadImage] | None:
        """What each image says of itself; None when there is too much to decode here."""
        headers, left = [], self._inline_pixels
        for data in images:
            header = _header(data)
            # A broken one is refused before any pixel is decoded.
            pixels = 0 if isinstance(header, BadImage) else header.width * header.height
            left -= max(pixels, len(data) // BYTES_PER_PIXEL)
            if left < 0:
                return None
            headers.append(header)
        return headers


def _header(data: bytes) -> ImageHeader | BadImage:
    try:
        return read_header(data)
    except BadImage as error:
        return _alone(error)


def _alone(error: BadImage) -> BadImage:
    """The same without its traceback, whose frames hold it and the images: a cycle that only a collection frees."""
    return copy.copy(error)


def _decode_all(images: Sequence[bytes], to: InputSpec) -> list[Decoded | BadImage]:
    return [_decode_one(data, _header(data), to) for data in images]


def _decode_one(data: bytes, header: ImageHeader | BadImage, to: InputSpec) -> Decoded | BadImage:
    if isinstance(header, BadImage):
        return header
    try:
        image = decode(data, header=header)
    except BadImage as error:
        return _alone(error)
    height, width, channels = image.shape
    return Decoded(resize(image, to.height, to.width), (height, width, channels))
