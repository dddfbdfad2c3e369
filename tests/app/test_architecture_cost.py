"""What an architecture costs, whatever its weights are."""

from __future__ import annotations

import pytest

from app.architecture_cost import architecture_cost
from app.errors import BadInput


def test_parameters_and_latency() -> None:
    small, large = (architecture_cost(name, 10, (32, 32)) for name in ("mobile", "resnet20"))
    assert large.parameters == 269_722
    assert small.parameters < large.parameters / 10
    assert small.latency_ms > 0
    assert large.latency_ms > 0
    assert architecture_cost("mobile", 10, (32, 32)) is small, "measured once"


def test_an_unknown_one() -> None:
    with pytest.raises(BadInput, match="unknown model"):
        architecture_cost("nothing", 10, (32, 32))
