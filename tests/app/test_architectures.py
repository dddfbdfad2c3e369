"""What every architecture in the table promises, and what is special about each."""

from __future__ import annotations

import pytest
import torch

from app.models import ARCHITECTURES, build_net
from app.models.attention_cnn import SelfAttention
from app.models.resnet20 import BasicBlock
from app.models.summary import count_parameters

NAMES = sorted(ARCHITECTURES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(8, 8), (32, 32), (20, 33)])
def test_logits_for_any_batch_and_size(name: str, size: tuple[int, int]) -> None:
    size = (max(size[0], ARCHITECTURES[name].min_size), max(size[1], ARCHITECTURES[name].min_size))
    net = build_net(name, 7, size, dropout=0.1).eval()
    with torch.no_grad():
        for batch in (1, 3):
            assert net(torch.randn(batch, 3, *size)).shape == (batch, 7)


@pytest.mark.parametrize("name", NAMES)
def test_rows_do_not_depend_on_their_neighbours(name: str) -> None:
    torch.manual_seed(0)
    net = build_net(name, 5, (16, 16), dropout=0.5).eval()
    images = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(net(images)[1:2], net(images[1:2]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_learns(name: str) -> None:
    torch.manual_seed(0)
    net = build_net(name, 4, (16, 16), dropout=0.0).train()
    for module in net.modules():
        if isinstance(module, SelfAttention):
            torch.nn.init.ones_(module.factor)  # at its start of 0 nothing behind it gets a gradient
    torch.nn.functional.cross_entropy(net(torch.randn(8, 3, 16, 16)), torch.arange(8) % 4).backward()
    trained = {key: value for key, value in net.named_parameters() if value.requires_grad}
    still = [key for key, value in trained.items() if value.grad is None or not value.grad.abs().sum() > 0]
    # The key's bias moves all of a position's scores alike, which the softmax does not see.
    assert [key for key in still if not key.endswith(("key.bias", "query.bias"))] == []


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("custom_cnn", 49_866),
        # He et al. 2016 give 0.27 M for ResNet-20 on ten classes.
        ("resnet20", 269_722),
        # Jordan 2024: 1.97 M for airbench94.
        ("airbench", 1_972_792),
        ("airbench_tiny", 269_304),
    ],
)
def test_parameter_counts_are_the_published_ones(name: str, parameters: int) -> None:
    assert count_parameters(build_net(name, 10, (32, 32), dropout=0.0)) == parameters


def test_self_attention_starts_as_the_identity_and_then_looks_everywhere() -> None:
    torch.manual_seed(0)
    layer = SelfAttention(16)
    features = torch.randn(2, 16, 4, 4)
    torch.testing.assert_close(layer(features), features)
    torch.nn.init.ones_(layer.factor)
    changed = features.clone()
    changed[0, :, 3, 3] += 1
    difference = (layer(changed) - layer(features)).abs().sum(1)
    assert (difference[0] > 0).all(), "one position reaches all others of its image"
    assert (difference[1] == 0).all(), "and none of another image"


def test_the_shortcut_of_resnet20_has_no_parameters_and_pads_channels() -> None:
    block = BasicBlock(4, 6, stride=2).eval()
    norm = block.second[1]
    assert isinstance(norm, torch.nn.BatchNorm2d)
    torch.nn.init.zeros_(norm.weight)
    images = torch.rand(1, 4, 8, 8)
    with torch.no_grad():
        out = block(images)
    torch.testing.assert_close(out[:, :4], images[:, :, ::2, ::2])
    assert (out[:, 4:] == 0).all()


def test_whitening_leaves_out_what_does_not_vary() -> None:
    """Grey images have no colours: to blow up their rounding errors would cost the exported graph its parity."""
    from app.models.airbench import AirbenchHalf

    torch.manual_seed(3)
    grey = torch.randn(64, 1, 16, 16).expand(-1, 3, -1, -1)
    net = AirbenchHalf(10)
    net.prepare(grey)
    used = net.whitening.weight[:12].flatten(1).norm(dim=1) > 0
    assert int(used.sum()) == 4, "of 12 directions of a 2x2 patch, the 4 that are grey"
    whitened = net.whitening(grey)[:, :12][:, used]
    assert whitened.std((0, 2, 3)).tolist() == pytest.approx([1.0] * 4, abs=0.05)
