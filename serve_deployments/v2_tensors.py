"""Tensors of the Open Inference Protocol: JSON data and the binary tensor data extension, in both directions.

Pure functions on values that a client sent; whatever cannot be used is a BadInput that says what was expected.

    JSON     `data`, flat or nested, row-major
    binary   little-endian, row-major, without padding; BYTES elements each behind a 4-byte length
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from app.errors import BadInput
from serve_deployments.request_body import json_type

_LENGTH = struct.Struct("<I")
_WHOLE_0_TO_255 = "whole numbers from 0 to 255"


def read_shape(shape: object, expected: Sequence[int], name: str, max_images: int) -> list[int]:
    """The declared shape, which has to be `expected` with a number of images for its -1."""
    wanted = f"input `{name}` must have shape {list(expected)}"
    if not isinstance(shape, list) or not all(type(size) is int for size in shape):
        raise BadInput(f"{wanted}; `shape` must be a list of whole numbers")
    if len(shape) != len(expected) or shape[1:] != list(expected[1:]):
        raise BadInput(f"{wanted} (-1 is the number of images), not {_short(shape)}")
    if not 1 <= shape[0] <= max_images:
        raise BadInput(f"input `{name}` must hold 1 to {max_images} images, not {shape[0]}")
    return shape


def uint8_from_json(data: object, shape: Sequence[int], name: str) -> np.ndarray:
    """UINT8 values of a flat or nested list as uint8 [*shape]."""
    values = flatten(data, shape, name)
    kinds = set(map(type, values))
    if kinds <= {int}:
        try:
            return np.frombuffer(bytes(values), np.uint8).reshape(shape)
        except ValueError:
            raise BadInput(f"input `{name}` must hold {_WHOLE_0_TO_255}, got {_outsider(values)}") from None
    if kinds <= {int, float}:
        if not all(0 <= value <= 255 and value == int(value) for value in values):
            raise BadInput(f"input `{name}` must hold {_WHOLE_0_TO_255}, got {_outsider(values)}")
        return np.array(values, np.uint8).reshape(shape)
    odd = next(value for value in values if type(value) not in (int, float))
    raise BadInput(f"input `{name}` must hold {_WHOLE_0_TO_255}, not {json_type(odd)}")


def uint8_from_binary(data: memoryview, shape: Sequence[int], name: str) -> np.ndarray:
    """The same bytes as a read-only uint8 [*shape], not copied."""
    if len(data) != prod(shape):
        raise BadInput(f"input `{name}` of shape {list(shape)} has {prod(shape)} bytes, not {len(data)}")
    return np.frombuffer(data, np.uint8).reshape(shape)


def bytes_from_binary(data: memoryview, count: int, name: str) -> list[bytes]:
    """The `count` elements of a one-dimensional BYTES tensor."""
    elements: list[bytes] = []
    at = 0
    while at < len(data) and len(elements) < count:
        if at + _LENGTH.size > len(data):
            break
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        if at + length > len(data):
            raise BadInput(
                f"element {len(elements)} of input `{name}` has a length of {length} bytes, but {len(data) - at} follow"
            )
        elements.append(bytes(data[at : at + length]))
        at += length
    if len(elements) != count or at != len(data):
        raise BadInput(
            f"input `{name}` must hold {count} elements, each behind its 4-byte length; "
            f"{len(elements)} were found and {len(data) - at} bytes are left"
        )
    return elements


def bytes_to_binary(elements: Sequence[bytes]) -> bytes:
    """A BYTES tensor, row-major."""
    return b"".join(part for element in elements for part in (_LENGTH.pack(len(element)), element))


def flatten(data: object, shape: Sequence[int], name: str) -> list[Any]:
    """The JSON values of a list that is either flat or nested as `shape` says, row-major."""
    if not isinstance(data, list):
        raise BadInput(f"`data` of input `{name}` must be a list, not {json_type(data)}")
    if not (len(shape) > 1 and data and isinstance(data[0], list)):
        if len(data) != prod(shape):
            raise BadInput(f"input `{name}` of shape {list(shape)} has {prod(shape)} values, not {len(data)}")
        return data
    level: list[Any] = [data]
    for axis, size in enumerate(shape):
        inner: list[Any] = []
        for each in level:
            if not isinstance(each, list) or len(each) != size:
                raise BadInput(f"nested `data` of input `{name}` is not of shape {list(shape)}: see axis {axis}")
            inner += each
        level = inner
    return level


def _outsider(values: Sequence[object]) -> object:
    """The first value that is no whole number from 0 to 255."""
    return next(value for value in values if not (isinstance(value, (int, float)) and value in range(256)))


def _short(shape: list[int]) -> str:
    return str(shape if len(shape) <= 8 else [*shape[:8], "..."])
