"""The table of architectures; `app.architecture_names` lists their names too."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

from torch import nn

from app.architecture_names import TORCHVISION_PREFIX, require_architecture
from app.errors import BadInput
from app.models.airbench import Airbench, AirbenchHalf
from app.models.airbench_residual import AirbenchTiny, AirbenchWide
from app.models.attention_cnn import AttentionCnn
from app.models.custom_cnn import CustomCnn
from app.models.dense_cnn import DenseCnn
from app.models.mobile import Mobile
from app.models.resnet20 import ResNet20
from app.models.torchvision_net import MIN_SIZE, require_known, torchvision_net


@dataclass(frozen=True, slots=True)
class Architecture:
    net: type[nn.Module] | None
    """Called with `(num_classes, dropout=...)`; None for torchvision's, which are built in another way."""
    min_size: int
    """Smallest height and width in pixels."""
    summary: str
    bf16_on_cpu: bool = True
    """Whether it trains faster in bf16 on a CPU that has instructions for it; False also where nobody measured."""


ARCHITECTURES: dict[str, Architecture] = {
    "custom_cnn": Architecture(CustomCnn, 8, "dense stem, depthwise-separable blocks 32-64-128-256; the default"),
    "mobile": Architecture(
        Mobile, 8, "ultra-light: stem of 16, three strided depthwise-separable blocks to 128", bf16_on_cpu=False
    ),
    "dense_cnn": Architecture(DenseCnn, 8, "dense 3x3 convolutions: a student for int8 on a CPU"),
    "attention_cnn": Architecture(AttentionCnn, 8, "CBAM and self-attention"),
    "resnet20": Architecture(ResNet20, 8, "the residual network of the CIFAR experiments"),
    "airbench": Architecture(Airbench, 16, "fast to train to high accuracy, of the speed-run family; 2 M parameters"),
    "airbench_wide": Architecture(AirbenchWide, 16, "the same, wider and deeper: the most accurate; 7.3 M parameters"),
    "airbench_half": Architecture(AirbenchHalf, 16, "the same at half the width, 0.5 M parameters"),
    "airbench_tiny": Architecture(AirbenchTiny, 16, "airbench_wide with as many parameters as resnet20"),
}


TORCHVISION = Architecture(
    None, MIN_SIZE, "any classification network of torchvision, its first layers adapted", bf16_on_cpu=False
)


def architecture(name: str) -> Architecture:
    """Raises BadInput for a name that is not in the table, and none of torchvision's when it begins so."""
    require_architecture(name)
    if name.startswith(TORCHVISION_PREFIX):
        require_known(name)
        return TORCHVISION
    return ARCHITECTURES[name]


def own_dropout(name: str) -> float | None:
    """Dropout before the last layer where none is asked for; None where torchvision decides. Raises BadInput."""
    net = architecture(name).net
    return None if net is None else float(inspect.signature(net).parameters["dropout"].default)


def build_net(name: str, num_classes: int, input_size: tuple[int, int], *, dropout: float | None = None) -> nn.Module:
    """input_size: (height, width) in pixels; dropout: None for the architecture's own. Raises BadInput."""
    found = architecture(name)
    if min(input_size) < found.min_size:
        height, width = input_size
        raise BadInput(
            f"model {name} needs images of at least {found.min_size}x{found.min_size} pixels, these are "
            f"{width}x{height}; pass --image-size"
        )
    if found.net is None:
        return torchvision_net(name, num_classes, input_size, dropout=dropout)
    return found.net(num_classes) if dropout is None else found.net(num_classes, dropout=dropout)
