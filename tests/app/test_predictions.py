"""The best classes of one row, best first."""

from __future__ import annotations

import numpy as np
import pytest

from app.predictions import top_predictions

ROW = np.array([0.1, 0.4, 0.1, 0.4], np.float32)


@pytest.mark.parametrize(
    ("top_k", "ids"), [(1, [1]), (2, [1, 3]), (3, [1, 3, 0]), (4, [1, 3, 0, 2]), (99, [1, 3, 0, 2])]
)
def test_best_first_and_the_lower_id_first_when_equal(top_k: int, ids: list[int]) -> None:
    rows = top_predictions(ROW, "abcd", top_k)
    assert [row["class_id"] for row in rows] == ids
    assert [row["class_name"] for row in rows] == ["abcd"[index] for index in ids]
    assert [row["confidence"] for row in rows] == ROW[ids].tolist()
    assert all(type(row["confidence"]) is float for row in rows), "plain floats: any JSON writer takes them"
