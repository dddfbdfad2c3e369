"""The decode and resize rule: every format and mode against Pillow, and every kind of broken file."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from app import imaging
from app.errors import BadImage, ImageTooLarge
from app.image_header import ImageHeader, read_header
from app.imaging import decode, encode_png, load, resize
from tests.app.pictures import (
    ANIMATION,
    FORMATS,
    JPEG_COMMENT,
    UNUSUAL_MASKS,
    USUAL_MASKS,
    encoded,
    forged_png,
    in_mode,
    png_chunk,
    rgb,
    smooth,
    with_more_scans,
)


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK"])
def test_every_mode_decodes_like_pillow(image_format: str, mode: str) -> None:
    try:
        data = encoded(in_mode(mode), image_format)
    except OSError:
        pytest.skip(f"{image_format} has no {mode}")
    expected = np.array(Image.open(io.BytesIO(data)).convert("RGB"))
    image = decode(data)
    assert image.dtype == np.uint8
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).max() <= (1 if mode == "CMYK" else 0)


@pytest.mark.parametrize("image_format", FORMATS)
def test_header_tells_format_and_size(image_format: str) -> None:
    data = encoded(rgb(40, 60), image_format)
    assert read_header(data) == ImageHeader(image_format.lower(), 60, 40)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options", [{"lossless": False}, {"lossless": True}, {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0"}]
)
def test_header_reads_all_three_kinds_of_webp(options: dict[str, Any]) -> None:
    assert read_header(encoded(rgb(40, 60), "WEBP", **options)) == ImageHeader("webp", 60, 40)


def test_alpha_is_dropped_not_blended() -> None:
    pixels = np.full((4, 4, 4), (200, 100, 50, 0), np.uint8)
    assert (decode(encoded(Image.fromarray(pixels), "PNG")) == (200, 100, 50)).all()


def test_palette_transparency_is_dropped() -> None:
    image = in_mode("P")
    assert (decode(encoded(image, "PNG", transparency=3)) == np.array(image.convert("RGB"))).all()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_keep_the_upper_eight(channels: int) -> None:
    eight = smooth(channels=channels)
    sixteen = eight.astype(np.uint16) * 256 + 128
    image = decode(cv2.imencode(".png", sixteen)[1].tobytes())
    expected = np.repeat(eight, 3, 2) if channels == 1 else eight[..., 2::-1]
    assert np.abs(image.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(image_format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x112] = orientation
    data = encoded(rgb(), image_format, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert (decode(data) == np.array(upright.convert("RGB"))).all()


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 3)])
def test_tiny_and_thin_images(image_format: str, size: tuple[int, int]) -> None:
    assert decode(encoded(rgb(*size), image_format)).shape == (*size, 3)


@pytest.mark.parametrize("progressive", [False, True])
def test_progressive_jpeg(progressive: bool) -> None:
    data = encoded(rgb(), "JPEG", progressive=progressive)
    assert (decode(data) == np.array(Image.open(io.BytesIO(data)))).all()


@pytest.mark.parametrize("image_format", ["PNG", "WEBP"])
def test_an_animation_is_refused(image_format: str) -> None:
    with pytest.raises(BadImage, match=f"the {image_format} image is an animation"):
        decode(encoded(rgb(), image_format, **ANIMATION))


@pytest.mark.parametrize("name", USUAL_MASKS)
def test_bmp_with_the_usual_masks(name: str) -> None:
    assert decode(USUAL_MASKS[name]).shape == (8, 8, 3)


@pytest.mark.parametrize("name", UNUSUAL_MASKS)
def test_bmp_with_unusual_masks_is_refused(name: str) -> None:
    with pytest.raises(BadImage, match="the BMP image has unusual colour masks"):
        decode(UNUSUAL_MASKS[name])


def test_a_jpeg_of_too_many_scans_is_refused() -> None:
    data = encoded(rgb(), "JPEG", progressive=True)
    more = 100 - data.count(b"\xff\xda")
    assert decode(with_more_scans(data, more)).shape == (40, 60, 3)
    assert decode(with_more_scans(data, more, JPEG_COMMENT)).shape == (40, 60, 3)
    assert (decode(data + b"\xff\xda" * 200) == decode(data)).all()  # behind the end they cost nothing
    for between in (b"", JPEG_COMMENT, b"\xff", b"\xff\x02\xff\xff"):
        with pytest.raises(BadImage, match="the JPEG image has more than 100 scans"):
            decode(with_more_scans(data, more + 1, between))


def test_bmp_with_rows_from_the_top() -> None:
    data = bytearray(encoded(rgb(), "BMP"))
    upside_down = decode(bytes(data))[::-1]
    struct.pack_into("<i", data, 22, -40)
    assert (decode(bytes(data)) == upside_down).all()


def test_a_24_megapixel_photograph_passes() -> None:
    data = encoded(Image.new("RGB", (6000, 4000), (10, 200, 30)), "JPEG")
    assert load(data, 32, 32).shape == (32, 32, 3)


def test_a_bomb_is_refused_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("pixels were decoded"))
    with pytest.raises(ImageTooLarge, match="100000x100000"):
        decode(forged_png(100_000, 100_000))


def test_pixel_limit_is_exact() -> None:
    data = encoded(rgb(10, 20), "PNG")
    assert decode(data, max_pixels=200).shape == (10, 20, 3)
    with pytest.raises(ImageTooLarge):
        decode(data, max_pixels=199)


@pytest.mark.parametrize("image_format", FORMATS)
def test_every_cut_is_refused(image_format: str) -> None:
    data = encoded(rgb(), image_format)
    for length in range(0, len(data), max(1, len(data) // 97)):
        with pytest.raises(BadImage):
            decode(data[:length])
    with pytest.raises(BadImage, match="cut off"):
        decode(data[:-1])


def test_a_cut_jpeg_padded_with_zeros_is_refused() -> None:
    data = encoded(rgb(), "JPEG")
    with pytest.raises(BadImage, match="cut off"):
        decode(data[: len(data) // 2] + bytes(len(data)))


def test_the_end_marker_of_a_thumbnail_does_not_count() -> None:
    thumbnail = encoded(rgb(8, 8), "JPEG")
    data = encoded(rgb(), "JPEG", comment=thumbnail)
    assert decode(data).shape == (40, 60, 3)
    with pytest.raises(BadImage, match="cut off"):
        decode(data[:-20])


@pytest.mark.parametrize("image_format", FORMATS)
def test_bytes_behind_the_image_are_harmless(image_format: str) -> None:
    data = encoded(rgb(), image_format)
    assert (decode(data + b"trailing") == decode(data)).all()


def test_a_png_with_a_wrong_checksum_is_refused() -> None:
    data = bytearray(encoded(rgb(), "PNG"))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(BadImage, match="damaged"):
        decode(bytes(data))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"GIF89a\x01\x00\x01\x00\x00\x00\x00;",
        b"BM",
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xd9",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\x04\x00\x00\x00WEBP",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        forged_png(0, 10),
        forged_png(10, 10),
        forged_png(3_000_000, 1),
        bytes(1000),
    ],
)
def test_garbage_is_a_bad_image(data: bytes) -> None:
    with pytest.raises(BadImage):
        decode(data)


def test_bad_images_print_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    bad = [encoded(rgb(), image_format)[:-30] for image_format in FORMATS]
    damaged_png = bytearray(encoded(rgb(), "PNG"))
    damaged_png[len(damaged_png) // 2] ^= 0xFF
    strange_bmp = bytearray(encoded(rgb(), "BMP"))
    struct.pack_into("<I", strange_bmp, 30, 9)  # an unknown compression, which OpenCV writes to its log
    for data in [*bad, bytes(damaged_png), bytes(strange_bmp), b"", b"hello", b"BM" + bytes(60)]:
        with pytest.raises(BadImage):
            decode(data)
    assert capfd.readouterr() == ("", "")


def test_shrinking_averages_areas_and_growing_interpolates() -> None:
    image = smooth(64, 64, 3)
    assert (resize(image, 16, 16) == cv2.resize(image, (16, 16), interpolation=cv2.INTER_AREA)).all()
    assert (resize(image, 100, 90) == cv2.resize(image, (90, 100), interpolation=cv2.INTER_LINEAR)).all()
    checkers = np.indices((64, 64)).sum(0)[..., None].repeat(3, 2).astype(np.uint8) % 2 * 200
    assert (resize(checkers, 8, 8) == 100).all()


def test_png_round_trip_is_exact() -> None:
    image = smooth(9, 7, 3)
    assert (load(encode_png(image), 9, 7) == image).all()


@settings(max_examples=60, deadline=None)
@given(*[st.integers(1, 90)] * 4)
def test_resize_takes_any_sizes(height: int, width: int, new_height: int, new_width: int) -> None:
    resized = resize(np.full((height, width, 3), 77, np.uint8), new_height, new_width)
    assert resized.shape == (new_height, new_width, 3)
    assert resized.dtype == np.uint8
    assert (resized == 77).all()


@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1)])
@pytest.mark.parametrize("target", [(1, 1), (1, 70_000), (224, 224)])
def test_resize_takes_extreme_sizes(size: tuple[int, int], target: tuple[int, int]) -> None:
    assert resize(np.zeros((*size, 3), np.uint8), *target).shape == (*target, 3)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 50), st.integers(1, 50))
def test_an_image_of_the_right_size_is_not_touched(height: int, width: int) -> None:
    image = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert resize(image, height, width) is image


def assert_decodes_or_bad(data: bytes) -> None:
    try:
        image = decode(data, max_pixels=1_000_000)
    except BadImage:
        return
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3


SIGNATURES = [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"RIFF\xff\0\0\0WEBPVP8 ", b"RIFF\xff\0\0\0WEBPVP8L"]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SIGNATURES), st.binary(max_size=400))
def test_arbitrary_bytes_decode_or_are_bad(signature: bytes, rest: bytes) -> None:
    assert_decodes_or_bad(signature + rest)


ORIGINALS = [
    encoded(rgb(12, 17), "JPEG"),
    encoded(rgb(12, 17), "JPEG", progressive=True),
    *(encoded(rgb(12, 17), image_format) for image_format in ("PNG", "BMP", "WEBP")),
    encoded(rgb(12, 17).quantize(9), "PNG"),
    encoded(rgb(12, 17).quantize(9), "BMP"),
    encoded(rgb(12, 17), "WEBP", lossless=False),
]


def with_right_checksums(png: bytes) -> bytes:
    """So that damage inside a chunk gets past the checksum, to the decoder."""
    return png[:8] + b"".join(png_chunk(kind, data) for kind, data in png_chunks(png))


def png_chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 8
    while position + 12 <= len(png):
        (length,) = struct.unpack_from(">I", png, position)
        yield png[position + 4 : position + 8], png[position + 8 : position + 8 + length]
        position += 12 + length


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(ORIGINALS),
    st.lists(st.tuples(st.integers(0, 2**16), st.binary(min_size=1, max_size=6)), min_size=1, max_size=5),
    st.booleans(),
)
def test_mutated_images_decode_or_are_bad(original: bytes, edits: list[tuple[int, bytes]], repair: bool) -> None:
    data = bytearray(original)
    for position, replacement in edits:
        start = position % len(data)
        data[start : start + len(replacement)] = replacement
    mutated = bytes(data)
    is_png = mutated.startswith(imaging.encode_png(smooth(1, 1, 3))[:8])
    assert_decodes_or_bad(with_right_checksums(mutated) if repair and is_png else mutated)
