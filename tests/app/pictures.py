"""Images of every format and mode, and files that only pretend."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import cv2
import numpy as np
from PIL import Image

FORMATS: dict[str, dict[str, Any]] = {"JPEG": {"quality": 95}, "PNG": {}, "BMP": {}, "WEBP": {"lossless": True}}


def smooth(height: int = 40, width: int = 60, channels: int = 4) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (5, 5), 0).reshape(height, width, channels)


def encoded(image: Image.Image, image_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **{**FORMATS[image_format], **options})
    return buffer.getvalue()


def rgb(height: int = 40, width: int = 60) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(smooth(height, width)[..., :3]))


def in_mode(mode: str) -> Image.Image:
    if mode == "P":
        return rgb().quantize(64)
    if mode in ("RGBA", "LA"):
        return Image.fromarray(smooth()).convert(mode)
    return rgb().convert(mode)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def forged_png(width: int, height: int) -> bytes:
    """A few bytes that declare any size, as a decompression bomb does."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(bytes(64))) + png_chunk(b"IEND", b"")
