"""Small requests are decoded on the loop, large ones in a thread; a bad image is an entry."""

from __future__ import annotations

import threading

import pytest

from app.artifact import InputSpec
from app.errors import BadImage
from app.imaging import RESIZE_RULE, ImageHeader
from serve_deployments import decoder as decoder_module
from serve_deployments.decoder import Decoded, Decoder
from tests.serve_deployments.fakes import colour_png

TO = InputSpec(height=8, width=8, resize=RESIZE_RULE)


@pytest.mark.parametrize(
    ("images", "inline"),
    [
        ([colour_png(0, 20, 20)], True),
        ([colour_png(0, 20, 21)], False),
        ([colour_png(0, 10, 10)] * 4, True),
        ([colour_png(0, 10, 10)] * 5, False),
        ([b"not an image"], True),
        ([b"x" * 10_000], False),
        ([], True),
    ],
)
async def test_where_images_are_decoded(images: list[bytes], inline: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    decode_one = decoder_module._decode_one

    def spy(data: bytes, header: ImageHeader | BadImage, to: InputSpec) -> Decoded | BadImage:
        threads.append(threading.current_thread())
        return decode_one(data, header, to)

    monkeypatch.setattr(decoder_module, "_decode_one", spy)
    entries = await Decoder(inline_pixels=400, threads=1).decode(images, TO)
    assert len(entries) == len(threads) == len(images)
    assert all((thread is threading.main_thread()) == inline for thread in threads)


async def test_entries_stay_in_order() -> None:
    entries = await Decoder(inline_pixels=400, threads=1).decode([b"", colour_png(1, 16, 4), b"no"], TO)
    assert [type(entry) for entry in entries] == [BadImage, Decoded, BadImage]
    image = entries[1]
    assert isinstance(image, Decoded)
    assert (image.shape, image.pixels.shape) == ((16, 4, 3), (8, 8, 3))
