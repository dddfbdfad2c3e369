"""Format and size of an encoded image from its first bytes, and whether the file is whole.

Pure byte reading, microseconds an image: it stands in front of every decoder, so that a
decompression bomb or a cut-off upload is refused before any pixel is allocated. `engine/` mirrors it. What versions of
OpenCV read differently is refused as well: animations, and BMP images with unusual colour masks.

    JPEG   size from the start-of-frame segment; whole when an end marker follows the first scan; at most 100 scans
    PNG    size from IHDR, which must come first; whole when the chunks reach IEND with right checksums
    BMP    size from the bitmap header; whole when an uncompressed image has all of its rows
    WebP   size from VP8, VP8L or VP8X; whole when the RIFF container has the length it declares
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass, field
from typing import Literal

from app.errors import BadImage

ImageFormat = Literal["jpeg", "png", "bmp", "webp"]

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_SIGNATURE = b"\xff\xd8\xff"
# Start-of-frame markers: C0 to CF without C4 (Huffman tables), C8 (reserved) and CC (arithmetic coding tables).
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_WITHOUT_LENGTH = frozenset((0x00, 0x01, *range(0xD0, 0xD9)))
"""An escaped 0xFF byte, and the markers that stand alone."""
_JPEG_SCAN = 0xDA
_JPEG_END = 0xD9
_MOST_JPEG_SCANS = 100
"""A scan may be a dozen bytes, and costs the decoder a pass over the whole image. Progressive files have 10 to 20."""
_JPEG_SEGMENT_IN_SCANS = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")
"""Restart markers and what is no segment are taken for scan data, as the decoder does."""
_BMP_RGB, _BMP_BITFIELDS = 0, 3
_BMP_MASKS_AT = 54
_BMP_MASKS_32 = (0xFF0000, 0xFF00, 0xFF)
_BMP_MASKS_16 = ((0x7C00, 0x3E0, 0x1F), (0xF800, 0x7E0, 0x1F))
_WEBP_ANIMATION = 0x02


@dataclass(slots=True)
class ImageHeader:
    """What the file says of itself: width and height in pixels as stored, before EXIF orientation."""

    format: ImageFormat
    width: int
    height: int
    read_to: int = field(default=0, compare=False)
    """Bytes that were looked at, from where the search for the end of a JPEG goes on."""


def read_header(data: bytes) -> ImageHeader:
    """Format and size of a JPEG, PNG, BMP or WebP image. Raises BadImage for anything else."""
    try:
        if data[:3] == _JPEG_SIGNATURE:
            return _jpeg_header(data)
        if data[:8] == _PNG_SIGNATURE:
            return _png_header(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp_header(data)
        if data[:2] == b"BM":
            return _bmp_header(data)
    except (struct.error, IndexError) as error:
        raise BadImage("the image is cut off within its header") from error
    raise BadImage("not a JPEG, PNG, BMP or WebP image" if data else "the image is empty")


def check_whole(data: bytes, header: ImageHeader) -> None:
    """Raises BadImage when the file ends before its image does, and for what must not reach a decoder: an animation,
    a BMP with unusual colour masks, a JPEG of too many scans.

    Decoders do not tell: they fill the missing part with grey, or leave it black.
    """
    try:
        whole = _WHOLE[header.format](data, header)
    except (struct.error, IndexError):
        whole = False
    if not whole:
        raise BadImage(f"the {header.format.upper()} image is cut off or damaged")


def _sized(image_format: ImageFormat, width: int, height: int, read_to: int = 0) -> ImageHeader:
    if width < 1 or height < 1:
        raise BadImage(f"the {image_format.upper()} header declares a size of {width}x{height} pixels")
    return ImageHeader(image_format, width, height, read_to)


def _jpeg_header(data: bytes) -> ImageHeader:
    position = 2
    while True:
        marker, start, position = _jpeg_segment(data, position)
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, start + 3)
            return _sized("jpeg", width, height, position)
        if marker in (_JPEG_SCAN, _JPEG_END):
            raise BadImage("the JPEG image has no frame header")


def _jpeg_segment(data: bytes, position: int) -> tuple[int, int, int]:
    """The next segment: its marker, where what belongs to it starts, and where it ends.

    Raises IndexError at the end of the data.
    """
    if data[position] != 0xFF:
        position = data.find(b"\xff", position)
        if position < 0:
            raise IndexError
    while data[position + 1] == 0xFF:  # any number of fill bytes may stand before a marker
        position += 1
    marker, start = data[position + 1], position + 2
    if marker in _JPEG_WITHOUT_LENGTH:
        return marker, start, start
    return marker, start, start + max(data[start] << 8 | data[start + 1], 2)


def _jpeg_whole(data: bytes, header: ImageHeader) -> bool:
    position, marker = header.read_to, 0
    while marker != _JPEG_SCAN:
        marker, _, position = _jpeg_segment(data, position)
    # Scan data escapes 0xFF, so this pair can only be the end marker. Bytes behind it are common and harmless.
    if data.find(b"\xff\xd9", position) < 0:
        return False
    if _has_too_many_scans(data, position):
        raise BadImage(f"the JPEG image has more than {_MOST_JPEG_SCANS} scans")
    return True


def _has_too_many_scans(data: bytes, position: int) -> bool:
    """position: in the first scan."""
    left = _MOST_JPEG_SCANS - 1
    if data.count(b"\xff\xda", position) <= left:  # wherever these pairs are, a scan each at most
        return False
    while left >= 0:
        found = _JPEG_SEGMENT_IN_SCANS.search(data, position)
        if not found or data[found.start() + 1] == _JPEG_END:
            return False
        try:
            marker, _, position = _jpeg_segment(data, found.start())
        except IndexError:
            return False
        left -= marker == _JPEG_SCAN
    return True


def _png_header(data: bytes) -> ImageHeader:
    length, kind, width, height = struct.unpack_from(">I4sII", data, 8)
    if kind != b"IHDR" or length != 13:
        raise BadImage("the PNG image does not start with its header chunk")
    return _sized("png", width, height)


def _png_whole(data: bytes, _: ImageHeader) -> bool:
    view, position = memoryview(data), 8
    while True:
        length, kind = struct.unpack_from(">I4s", data, position)
        after = position + 8 + length
        (checksum,) = struct.unpack_from(">I", data, after)
        # A lower-case first letter marks a chunk that readers may ignore, damaged or not.
        if kind[0] < 0x61 and zlib.crc32(view[position + 4 : after]) != checksum:
            return False
        if kind == b"IEND":
            return True
        if kind == b"acTL":
            raise BadImage("the PNG image is an animation")
        position = after + 4


def _bmp_header(data: bytes) -> ImageHeader:
    (header_size,) = struct.unpack_from("<I", data, 14)
    if header_size == 12:
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
    return _sized("bmp", width, abs(height))  # a negative height means rows from top to bottom


def _bmp_whole(data: bytes, header: ImageHeader) -> bool:
    offset, header_size = struct.unpack_from("<II", data, 10)
    if header_size == 12:
        (bits,), compression = struct.unpack_from("<H", data, 24), _BMP_RGB
    else:
        bits, compression = struct.unpack_from("<HI", data, 28)
    if compression not in (_BMP_RGB, _BMP_BITFIELDS):
        return True  # run-length coded rows have no known length; the decoder reports a missing end
    if compression == _BMP_BITFIELDS and not _has_usual_masks(data, header_size, bits):
        raise BadImage("the BMP image has unusual colour masks")
    row_bytes = (header.width * bits + 31) // 32 * 4
    return bool(offset >= 14 + header_size and offset + row_bytes * header.height <= len(data))


def _has_usual_masks(data: bytes, header_size: int, bits: int) -> bool:
    masks = struct.unpack_from("<III", data, _BMP_MASKS_AT)
    if bits == 32:
        return masks == _BMP_MASKS_32
    return bits == 16 and header_size == 40 and masks in _BMP_MASKS_16


def _webp_header(data: bytes) -> ImageHeader:
    kind = data[12:16]
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return _sized("webp", width & 0x3FFF, height & 0x3FFF)
    if kind == b"VP8L" and data[20:21] == b"\x2f":
        (bits,) = struct.unpack_from("<I", data, 21)
        return _sized("webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8X":
        low_width, high_width, low_height, high_height = struct.unpack_from("<HBHB", data, 24)
        return _sized("webp", (high_width << 16 | low_width) + 1, (high_height << 16 | low_height) + 1)
    raise BadImage("the WebP image has no frame header")


def _webp_whole(data: bytes, _: ImageHeader) -> bool:
    if data[12:16] == b"VP8X" and data[20] & _WEBP_ANIMATION:
        raise BadImage("the WEBP image is an animation")
    (riff_bytes,) = struct.unpack_from("<I", data, 4)
    return bool(8 + riff_bytes <= len(data))


_WHOLE = {"jpeg": _jpeg_whole, "png": _png_whole, "bmp": _bmp_whole, "webp": _webp_whole}
