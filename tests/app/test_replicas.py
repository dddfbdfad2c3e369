"""Numbers of replicas, as they are written."""

from __future__ import annotations

import pytest

from app.errors import BadInput
from app.replicas import Replicas


@pytest.mark.parametrize(
    ("text", "replicas"), [("2", Replicas(2, 2)), (3, Replicas(3, 3)), ("1:4", Replicas(1, 4)), ("2:2", Replicas(2, 2))]
)
def test_numbers_and_ranges(text: str | int, replicas: Replicas) -> None:
    assert Replicas.parse(text) == replicas


@pytest.mark.parametrize("text", ["", "0", "0:2", "3:1", "-1", "1:", ":2", "1:2:3", "many", "1.5", "99999", 0, -2])
def test_what_is_neither(text: str | int) -> None:
    with pytest.raises(BadInput, match="such as 1:4"):
        Replicas.parse(text)
