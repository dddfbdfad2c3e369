"""The network against arithmetic done by hand, its initialization, and what it refuses."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from app.errors import BadInput
from app.models import ARCHITECTURES, ServingModel, architecture, build_classifier, build_net, to_floats
from app.models.custom_cnn import CustomCnn
from app.models.layers import ConvBnRelu, init_conv_net
from app.models.summary import count_parameters, layer_table

STEM = 3 * 32 * 9 + 2 * 32
BLOCKS = {  # depthwise 3x3 and its BN, pointwise 1x1 and its BN
    "32-64": 32 * 9 + 2 * 32 + 32 * 64 + 2 * 64,
    "64-128": 64 * 9 + 2 * 64 + 64 * 128 + 2 * 128,
    "128-256": 128 * 9 + 2 * 128 + 128 * 256 + 2 * 256,
}


@pytest.fixture(scope="module")
def net() -> CustomCnn:
    torch.manual_seed(0)
    return CustomCnn(10).eval()


def test_parameters_of_the_default_network(net: CustomCnn) -> None:
    assert count_parameters(net) == STEM + sum(BLOCKS.values()) + 256 * 10 + 10 == 49_866


def test_multiply_adds_of_the_default_network(net: CustomCnn) -> None:
    """On 32x32: the stem at 32x32, the blocks at 16x16, 8x8 and 4x4."""
    expected = {
        "stem.0.0": 32 * 32 * 32 * 3 * 9,
        "blocks.0.0.0": 16 * 16 * 32 * 9,
        "blocks.0.1.0": 16 * 16 * 64 * 32,
        "blocks.2.0.0": 8 * 8 * 64 * 9,
        "blocks.2.1.0": 8 * 8 * 128 * 64,
        "blocks.4.0.0": 4 * 4 * 128 * 9,
        "blocks.4.1.0": 4 * 4 * 256 * 128,
        "head": 256 * 10,
    }
    rows = layer_table(net, (32, 32))
    assert {row.name: row.multiply_adds for row in rows if row.multiply_adds} == expected


def test_layer_table(net: CustomCnn) -> None:
    net.train()
    rows = {row.name: row for row in layer_table(net, (32, 24))}
    assert net.training, "the network is left in the mode it was in"
    net.eval()
    assert sum(row.parameters for row in rows.values()) == count_parameters(net)
    assert (rows["stem.0.0"].kind, rows["stem.0.0"].output_shape) == ("Conv2d", (32, 32, 24))
    assert (rows["stem.1"].kind, rows["stem.1"].output_shape) == ("MaxPool2d", (32, 16, 12))
    assert rows["blocks.4.1.2"].output_shape == (256, 4, 3)
    assert (rows["head"].output_shape, rows["head"].parameters) == ((10,), 2570)
    assert next(iter(rows)) == "stem.0.0"
    assert list(rows)[-1] == "head"
    assert not any(module._forward_hooks for module in net.modules())


@pytest.mark.parametrize("size", [(8, 8), (9, 13), (32, 32), (64, 8), (224, 224)])
def test_any_input_size_from_8_pixels(net: CustomCnn, size: tuple[int, int]) -> None:
    with torch.no_grad():
        assert net(torch.randn(2, 3, *size)).shape == (2, 10)


def test_initialization() -> None:
    torch.manual_seed(0)
    block, separate, linear = ConvBnRelu(64, 256), ConvBnRelu(256, 256, groups=256), nn.Linear(512, 512)
    net = nn.Sequential(block, separate, linear)
    for parameter in net.parameters():
        nn.init.constant_(parameter, 7)
    init_conv_net(net)
    dense, norm, depthwise = block[0], block[1], separate[0]
    assert isinstance(dense, nn.Conv2d)
    assert isinstance(depthwise, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert dense.weight.std().item() == pytest.approx(math.sqrt(2 / (256 * 9)), rel=0.02)
    assert dense.weight.mean().item() == pytest.approx(0, abs=5e-4)
    # PyTorch counts the fan of a grouped convolution over all groups.
    assert depthwise.weight.std().item() == pytest.approx(math.sqrt(2 / (256 * 9)), rel=0.05)
    assert linear.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert not linear.bias.any()
    assert (norm.weight == 1).all()
    assert not norm.bias.any()


def test_the_default_network_is_initialized_by_these_rules(net: CustomCnn) -> None:
    assert net.head.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert not net.head.bias.any()
    pointwise = net.get_submodule("blocks.4.1.0")
    assert isinstance(pointwise, nn.Conv2d)
    assert pointwise.weight.std().item() == pytest.approx(math.sqrt(2 / 256), rel=0.02)


def test_dropout_is_before_the_head_and_only_while_training() -> None:
    net = CustomCnn(3, dropout=0.9)
    image = torch.randn(1, 3, 8, 8).expand(8, 3, 8, 8)
    assert len(net.eval()(image).detach().unique(dim=0)) == 1
    assert len(net.train()(image).detach().unique(dim=0)) > 1


def test_normalization_is_part_of_the_classifier() -> None:
    classifier = build_classifier("custom_cnn", 3, (8, 8), mean=(10, 20, 30), std=(1, 2, 4)).eval()
    images = torch.full((2, 3, 8, 8), 50.0)
    with torch.no_grad():
        expected = classifier.net(torch.tensor([40.0, 15.0, 5.0]).view(1, 3, 1, 1).expand(2, 3, 8, 8))
        assert torch.equal(classifier(images), expected)
    assert {"mean", "std"} <= classifier.state_dict().keys()


def test_the_serving_model_takes_bytes_and_answers_probabilities() -> None:
    classifier = build_classifier("custom_cnn", 4, (8, 10)).eval()
    images = torch.randint(0, 256, (5, 8, 10, 3), dtype=torch.uint8)
    with torch.no_grad():
        answers = ServingModel(classifier)(images)
        assert torch.allclose(answers, classifier(images.permute(0, 3, 1, 2).float()).softmax(1))
    assert answers.shape == (5, 4)
    assert torch.allclose(answers.sum(1), torch.ones(5))


def test_to_floats_keeps_values_and_moves_channels() -> None:
    images = torch.arange(2 * 4 * 5 * 3, dtype=torch.uint8).view(2, 4, 5, 3)
    floats = to_floats(images)
    assert floats.shape == (2, 3, 4, 5)
    assert floats.dtype == torch.float32
    assert floats[1, 2, 3, 4] == images[1, 3, 4, 2]


def test_an_unknown_name_lists_the_names_there_are() -> None:
    with pytest.raises(BadInput, match=r"unknown model 'resnet900'.*custom_cnn"):
        architecture("resnet900")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_too_small_images_are_refused(name: str) -> None:
    smallest = ARCHITECTURES[name].min_size
    build_net(name, 3, (smallest, smallest), dropout=0)
    with pytest.raises(BadInput, match=rf"at least {smallest}x{smallest} pixels, these are 50x{smallest - 1}; pass"):
        build_net(name, 3, (smallest - 1, 50), dropout=0)
