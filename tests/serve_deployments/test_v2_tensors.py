"""The tensor codec: whatever goes in comes out again, and what cannot be used is refused by name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from app.errors import BadInput
from serve_deployments.v2_tensors import (
    bytes_from_binary,
    bytes_to_binary,
    read_shape,
    uint8_from_binary,
    uint8_from_json,
)

images = arrays.arrays(np.uint8, st.tuples(*(st.integers(1, 4),) * 3, st.just(3)))


@settings(deadline=None)
@given(images)
def test_json_gives_back_the_array_flat_or_nested(array: np.ndarray) -> None:
    for data in (array.tolist(), array.ravel().tolist(), array.astype(float).tolist()):
        back = uint8_from_json(data, array.shape, "images")
        assert back.dtype == np.uint8
        np.testing.assert_array_equal(back, array)


@settings(deadline=None)
@given(images)
def test_binary_gives_back_the_array_without_a_copy(array: np.ndarray) -> None:
    body = b"head" + array.tobytes()
    back = uint8_from_binary(memoryview(body)[4:], array.shape, "images")
    np.testing.assert_array_equal(back, array)
    assert np.shares_memory(back, np.frombuffer(body, np.uint8))


@settings(deadline=None)
@given(st.lists(st.binary(max_size=50), min_size=1, max_size=8))
def test_bytes_elements_come_back(elements: list[bytes]) -> None:
    assert bytes_from_binary(memoryview(bytes_to_binary(elements)), len(elements), "encoded") == elements


@settings(deadline=None)
@given(st.binary(max_size=60), st.integers(1, 5))
def test_any_bytes_are_elements_or_bad_input(data: bytes, count: int) -> None:
    """What is accepted is exactly what the elements encode to: no byte is lost or made up."""
    try:
        elements = bytes_from_binary(memoryview(data), count, "encoded")
    except BadInput:
        return
    assert len(elements) == count
    assert bytes_to_binary(elements) == data


@pytest.mark.parametrize("drop", [1, 3, 4, 5, 9])
def test_cut_off_elements_are_refused(drop: int) -> None:
    data = bytes_to_binary([b"first", b"second"])
    with pytest.raises(BadInput, match="encoded"):
        bytes_from_binary(memoryview(data)[:-drop], 2, "encoded")


@pytest.mark.parametrize(("count", "rest"), [(2, b"x"), (2, b"\0\0\0\0"), (1, b""), (3, b""), (3, b"\0\0\0")])
def test_another_number_of_elements_is_refused(count: int, rest: bytes) -> None:
    with pytest.raises(BadInput, match=f"must hold {count} elements"):
        bytes_from_binary(memoryview(bytes_to_binary([b"first", b"second"]) + rest), count, "encoded")


@pytest.mark.parametrize("length", [7, 2**31, 2**32 - 1])
def test_a_length_beyond_the_data_is_refused(length: int) -> None:
    with pytest.raises(BadInput, match=f"element 0 of input `encoded` has a length of {length} bytes, but 6 follow"):
        bytes_from_binary(memoryview(length.to_bytes(4, "little") + b"abcdef"), 1, "encoded")


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (256, "256"),
        (-1, "-1"),
        (2**64 - 1, "18446744073709551615"),
        (0.5, "0.5"),
        (1e300, "1e"),
        (float("inf"), "inf"),
        (float("nan"), "nan"),
        (-0.5, "-0.5"),
        (True, "a boolean"),
        (None, "null"),
        ("7", "text"),
        ({}, "an object"),
        ([7], "a list"),
    ],
)
def test_values_that_are_no_bytes(value: object, named: str) -> None:
    for data in ([1, value, 3, 4], [1, value, 3.0, 4]):
        with pytest.raises(BadInput, match=r"`images` must hold whole numbers from 0 to 255") as caught:
            uint8_from_json(data, (4,), "images")
        assert named in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        None,
        3,
        "1234",
        {},
        [],
        [1, 2, 3],
        [1, 2, 3, 4, 5],
        [[1, 2], [3]],
        [[1, 2], [3, 4], [5, 6]],
        [[1, 2], 3],
        [[1, 2], "34"],
        [[1, 2], {"a": 1, "b": 2}],
        [[[1, 2]], [[3, 4]]],
        [[], []],
    ],
)
def test_data_of_another_shape(data: object) -> None:
    with pytest.raises(BadInput, match="images"):
        uint8_from_json(data, (2, 2), "images")


def test_a_binary_tensor_has_the_size_of_its_shape() -> None:
    with pytest.raises(BadInput, match=r"shape \[2, 2\] has 4 bytes, not 5"):
        uint8_from_binary(memoryview(b"12345"), (2, 2), "images")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (None, "list of whole numbers"),
        ("[1, 8, 8, 3]", "list of whole numbers"),
        ([1, 8, 8, "3"], "list of whole numbers"),
        ([1, 8, 8, 3.0], "list of whole numbers"),
        ([True, 8, 8, 3], "list of whole numbers"),
        ([8, 8, 3], r"must have shape \[-1, 8, 8, 3\]"),
        ([1, 3, 8, 8], r"must have shape \[-1, 8, 8, 3\]"),
        ([1, 8, 8, 3, 1], r"must have shape \[-1, 8, 8, 3\]"),
        ([], r"must have shape \[-1, 8, 8, 3\]"),
        ([9] * 100_000, r"not \[9, 9, 9, 9, 9, 9, 9, 9, '...'\]"),
        ([0, 8, 8, 3], "1 to 5 images, not 0"),
        ([-1, 8, 8, 3], "1 to 5 images, not -1"),
        ([6, 8, 8, 3], "1 to 5 images, not 6"),
        ([10**18, 8, 8, 3], "1 to 5 images"),
    ],
)
def test_bad_shapes(shape: object, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        read_shape(shape, (-1, 8, 8, 3), "images", 5)
