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


ANIMATION = {"save_all": True, "append_images": [Image.fromarray(255 - smooth()[..., :3])], "duration": 100}


def bmp(bits: int, masks: tuple[int, ...], header_bytes: int = 40, compression: int = 3) -> bytes:
    """Of 8x8 pixels of noise, with colour masks in or behind its header."""
    pixels = np.random.default_rng(0).bytes(8 * 8 * bits // 8)
    header = struct.pack("<IiiHHIIiiII", header_bytes, 8, 8, 1, bits, compression, len(pixels), 0, 0, 0, 0)
    header = (header + struct.pack(f"<{len(masks)}I", *masks)).ljust(header_bytes, b"\0")
    return b"BM" + struct.pack("<IHHI", 14 + len(header) + len(pixels), 0, 0, 14 + len(header)) + header + pixels


USUAL_MASKS = {
    "32": bmp(32, (0xFF0000, 0xFF00, 0xFF)),
    "32-alpha": bmp(32, (0xFF0000, 0xFF00, 0xFF, 0xFF000000), 124),
    "32-none": bmp(32, (0xFF, 0xFF00, 0xFF0000, 0xFF000000), 124, 0),
    "16-555": bmp(16, (0x7C00, 0x3E0, 0x1F)),
    "16-565": bmp(16, (0xF800, 0x7E0, 0x1F)),
}
UNUSUAL_MASKS = {
    "32-rgb": bmp(32, (0xFF, 0xFF00, 0xFF0000)),
    "32-rgba": bmp(32, (0xFF, 0xFF00, 0xFF0000, 0xFF000000), 124),
    "16-444": bmp(16, (0xF00, 0xF0, 0xF)),
    "16-565-v5": bmp(16, (0xF800, 0x7E0, 0x1F), 124),
    "24": bmp(24, (0xFF0000, 0xFF00, 0xFF)),
}


def with_more_scans(jpeg: bytes, number: int, between: bytes = b"") -> bytes:
    """The last scan of a progressive JPEG, so many times more; `between` stands in front of each."""
    last = jpeg.rindex(b"\xff\xda")
    return jpeg[:-2] + (between + jpeg[last:-2]) * number + b"\xff\xd9"


JPEG_COMMENT = b"\xff\xfe\x00\x06\xff\xd9\xff\xda"
"""Two markers that are none: they stand in a comment."""
