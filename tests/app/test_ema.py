"""The moving average follows the weights, quickly at first."""

from __future__ import annotations

import torch
from torch import nn

from app.ema import MovingAverage


def test_the_average_rises_with_its_decay() -> None:
    net = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(net.weight)
    average = MovingAverage(net, decay=0.5)
    nn.init.ones_(net.weight)
    seen = []
    for _ in range(3):
        average.update(net)
        seen.append(average.model.get_parameter("weight").item())
    # Decays of 2/11, 3/12 and 4/13: while there are few updates each of them counts more.
    expected, value = [], 0.0
    for decay in (2 / 11, 3 / 12, 4 / 13):
        value = decay * value + 1 - decay
        expected.append(value)
    torch.testing.assert_close(torch.tensor(seen), torch.tensor(expected))


def test_statistics_are_averaged_and_counters_copied() -> None:
    norm = nn.BatchNorm2d(2)
    average = MovingAverage(norm, decay=0.99)
    norm.train()(torch.randn(8, 2, 3, 3) + 5)
    average.update(norm)
    mean = average.model.get_buffer("running_mean")
    assert norm.running_mean is not None
    assert torch.allclose(mean, norm.running_mean * (1 - 2 / 11))
    assert average.model.get_buffer("num_batches_tracked").item() == 1


def test_it_is_a_network_of_its_own() -> None:
    net = nn.Linear(2, 2)
    average = MovingAverage(net, decay=0.9)
    assert all(not parameter.requires_grad for parameter in average.model.parameters())
    assert all(parameter.requires_grad for parameter in net.parameters())
