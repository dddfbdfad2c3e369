"""Which architectures there are, for what must not import torch to know it: `app.models` has the networks."""

from __future__ import annotations

from app.errors import BadInput

ARCHITECTURE_NAMES = (
    "custom_cnn",
    "mobile",
    "dense_cnn",
    "attention_cnn",
    "resnet20",
    "airbench",
    "airbench_wide",
    "airbench_half",
    "airbench_tiny",
)
TORCHVISION_PREFIX = "torchvision:"
"""Begins the names of its networks, which only torchvision itself can list."""


def require_architecture(name: str) -> None:
    """Raises BadInput for an unknown name, but for one of torchvision's."""
    if name not in ARCHITECTURE_NAMES and not name.startswith(TORCHVISION_PREFIX):
        known = ", ".join(ARCHITECTURE_NAMES)
        raise BadInput(f"unknown model {name!r}; there are: {known}, and {TORCHVISION_PREFIX}NAME")
