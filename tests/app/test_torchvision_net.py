"""Networks of torchvision, made to keep what small images show."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from app.artifact import Lineage
from app.checkpoint import ModelCard
from app.conversion.bundling import write_bundle
from app.errors import BadInput
from app.models import build_classifier, build_net
from app.models.summary import layer_table
from tests.app.tiny_data import colour_dataset

EVERY_FAMILY = (
    "resnet18", "mobilenet_v2", "mobilenet_v3_small", "shufflenet_v2_x0_5", "squeezenet1_0", "mnasnet0_5",
    "efficientnet_b0", "densenet121", "regnet_y_400mf", "googlenet", "alexnet",
)  # fmt: skip


@pytest.mark.parametrize("name", EVERY_FAMILY)
def test_small_images_keep_a_map_to_look_at(name: str) -> None:
    """Unchanged, these reduce 32 pixels to one, where they take them at all."""
    net = build_net(f"torchvision:{name}", 7, (32, 32)).eval()
    with torch.no_grad():
        assert net(torch.randn(3, 3, 32, 32)).shape == (3, 7)
    maps = [row.output_shape for row in layer_table(net, (32, 32)) if row.kind == "Conv2d" and row.output_shape[1:]]
    assert max(shape[1] for shape in maps) == 32, "the first layer does not shrink the image"


def test_the_residual_network_is_the_one_used_for_cifar() -> None:
    net = build_net("torchvision:resnet18", 10, (32, 32))
    assert isinstance(net.conv1, nn.Conv2d)
    assert (net.conv1.kernel_size, net.conv1.stride) == ((3, 3), (1, 1))
    assert isinstance(net.maxpool, nn.Identity)
    assert layer_table(net, (32, 32))[-3].output_shape == (512, 4, 4)


def test_large_images_get_the_network_as_it_is() -> None:
    net = build_net("torchvision:resnet18", 10, (128, 128))
    assert isinstance(net.conv1, nn.Conv2d)
    assert net.conv1.stride == (2, 2)
    assert isinstance(net.maxpool, nn.MaxPool2d)


def test_dropout_is_the_one_asked_for() -> None:
    net = build_net("torchvision:mobilenet_v2", 10, (32, 32), dropout=0.07)
    assert {module.p for module in net.modules() if isinstance(module, nn.Dropout)} == {0.07}


@pytest.mark.parametrize(
    ("name", "size", "says"),
    [
        ("torchvision:resnet17", 32, "unknown model 'torchvision:resnet17'; torchvision has: alexnet"),
        ("torchvision:", 32, "unknown model"),
        ("torchvision:vit_b_16", 32, "cannot take images of 32x32 pixels"),
        ("torchvision:resnet18", 16, "needs images of at least 32x32 pixels"),
    ],
)
def test_what_cannot_be_built(name: str, size: int, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        build_net(name, 10, (size, size))


def test_it_exports_with_a_dynamic_batch(tmp_path: Path) -> None:
    """The parity gate runs batches of 1, 7 and 64."""
    dataset = colour_dataset(size=(32, 32))
    name = "torchvision:squeezenet1_1"
    classifier = build_classifier(name, len(dataset.labels), (32, 32)).eval()
    card = ModelCard(architecture=name, labels=dataset.labels, input_size=(32, 32))
    lineage = Lineage(dataset="colours", dataset_digest="d", git_commit="c", run_id="r")
    measured = write_bundle(tmp_path, card, classifier, dataset.test, name="t", lineage=lineage)
    assert measured.max_error <= 1e-5
