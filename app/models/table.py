"""The one table of architecture names."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from app.errors import BadInput
from app.models.custom_cnn import CustomCnn


@dataclass(frozen=True, slots=True)
class Architecture:
    net: type[nn.Module]
    """Called with `(num_classes, dropout=...)`."""
    min_size: int
    """Smallest height and width in pixels."""
    summary: str


ARCHITECTURES: dict[str, Architecture] = {
    "custom_cnn": Architecture(CustomCnn, 8, "dense stem, depthwise-separable blocks 32-64-128-256; the default"),
}


def architecture(name: str) -> Architecture:
    """Raises BadInput for a name that is not in the table."""
    if name not in ARCHITECTURES:
        raise BadInput(f"unknown model {name!r}; there are: {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]


def build_net(name: str, num_classes: int, input_size: tuple[int, int], *, dropout: float) -> nn.Module:
    """input_size: (height, width) in pixels. Raises BadInput."""
    found = architecture(name)
    if min(input_size) < found.min_size:
        height, width = input_size
        raise BadInput(
            f"model {name} needs images of at least {found.min_size}x{found.min_size} pixels, these are "
            f"{width}x{height}; pass --image-size"
        )
    return found.net(num_classes, dropout=dropout)
