"""What is trained and what is exported: a network with its normalization inside."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from app.models.table import build_net


class ImageClassifier(nn.Module):
    """A network behind its own normalization: floats [N, 3, H, W] in 0..255 in, logits [N, C] out.

    Mean and standard deviation are buffers, so every checkpoint and every exported graph carries
    the ones it was trained with.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, net: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        """mean, std: of each channel, in units of 0..255."""
        super().__init__()
        self.net = net
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, 3, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.net((images - self.mean) / self.std)

    def prepare(self, images: torch.Tensor) -> None:
        """Shows a network that has a `prepare` of its own some training images, [N, 3, H, W] in 0..255."""
        prepare = getattr(self.net, "prepare", None)
        if prepare is not None:
            prepare((images - self.mean) / self.std)


class ServingModel(nn.Module):
    """The signature of every artifact: uint8 [N, H, W, 3] RGB in, probabilities float32 [N, C] out."""

    def __init__(self, classifier: ImageClassifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(to_floats(images)).softmax(1)


def to_floats(images: torch.Tensor) -> torch.Tensor:
    """uint8 [N, H, W, 3] -> float32 [N, 3, H, W], still 0..255."""
    return images.permute(0, 3, 1, 2).float()


def build_classifier(
    architecture: str,
    num_classes: int,
    input_size: tuple[int, int],
    *,
    mean: Sequence[float] = (127.5, 127.5, 127.5),
    std: Sequence[float] = (64.0, 64.0, 64.0),
    dropout: float | None = None,
) -> ImageClassifier:
    """Raises BadInput for an unknown architecture or an input size it cannot take."""
    return ImageClassifier(build_net(architecture, num_classes, input_size, dropout=dropout), mean, std)
