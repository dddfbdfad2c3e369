"""`--batch-size auto` stops where memory ends or a larger batch no longer pays."""

from __future__ import annotations

import pytest
import torch

from app import batch_size
from app.batch_size import candidates, choose, fastest_batch_size, images_per_second
from app.models import build_classifier
from tests.app.tiny_data import one_thread

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("speeds", "chosen"),
    [
        ({32: 100, 64: 200, 128: 211, 256: 500}, 256),
        ({32: 100, 64: 200, 128: 209, 256: 500}, 64),
        ({32: 100, 64: 104, 128: 1000}, 32),
        ({32: 100, 64: None, 128: 1000}, 32),
        ({32: None, 64: 10}, 64),
        ({32: 5}, 32),
    ],
)
def test_choosing(speeds: dict[int, float | None], chosen: int) -> None:
    assert choose(iter(speeds), speeds.__getitem__) == chosen


@pytest.mark.parametrize(
    ("count", "sizes"), [(50_000, [32, 64, 128, 256, 512, 1024]), (2000, [32, 64]), (40, [20]), (3, [2])]
)
def test_an_epoch_keeps_enough_steps(count: int, sizes: list[int]) -> None:
    assert list(candidates(count)) == sizes


def test_measuring_leaves_the_network_as_it_was() -> None:
    model = build_classifier("mobile", 3, (16, 16))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with one_thread():
        assert fastest_batch_size(model, (16, 16), 100, CPU) in (32, 50)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_what_does_not_fit_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(batch_size, "_step", full)
    assert images_per_second(build_classifier("mobile", 3, (16, 16)), (16, 16), 8, CPU) is None
