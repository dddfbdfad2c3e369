"""Roots of rising functions, many at once."""

from __future__ import annotations

import numpy as np
import pytest

from app.newton import increasing_root


def close(value: np.ndarray, _slope: np.ndarray) -> np.ndarray:
    return np.abs(value) < 1e-12


def root(target: list[float], start: list[float], slope_factor: float = 1.0) -> np.ndarray:
    """Of x^3 = target within [-2, 2]."""
    ends = np.full(len(target), 2.0)
    return increasing_root(
        lambda x: (x**3 - np.array(target), slope_factor * 3 * x**2), np.array(start), -ends, ends, close
    )


def test_each_function_has_its_own_root() -> None:
    assert root([1.0, -0.5, 0.0, 7.9], [0.3, 0.0, 2.0, -2.0]) == pytest.approx(
        [1, -(0.5 ** (1 / 3)), 0, 7.9 ** (1 / 3)], abs=1e-4
    )


def test_without_a_root_it_is_the_end_next_to_it() -> None:
    assert root([9.0, -9.0], [0.1, 0.1]).tolist() == [2.0, -2.0]


@pytest.mark.parametrize("factor", [0.05, 0.0, -1.0])
def test_a_wrong_slope_costs_steps_and_not_the_result(factor: float) -> None:
    assert root([1.0, 5.0], [0.9, -1.0], factor) == pytest.approx([1.0, 5.0 ** (1 / 3)])


def test_a_start_outside_is_brought_in() -> None:
    assert root([1.0], [50.0]) == pytest.approx([1.0])
