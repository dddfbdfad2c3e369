"""Smaller networks from trained ones: without whole channels (structured), or with weights at zero (unstructured).

Channels go by Torch-Pruning's dependency graph (Fang et al. 2023, DepGraph, arXiv:2301.12900), those of the smallest
norm first (Li et al. 2017, arXiv:1608.08710), so that every layer, and the exported graph, really is narrower. Single
weights go by magnitude (Han et al. 2015, arXiv:1506.02626): no runtime here skips a zero, so it changes the size of a
compressed file and no latency.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from app import checkpoint
from app.checkpoint import read_model
from app.errors import BadInput
from app.models import ImageClassifier
from app.models.summary import count_parameters

ROUND_TO = 8
"""Layers keep a multiple of this many channels: runtimes compute as many at once."""
NOT_PRUNABLE = {"attention_cnn": "its self-attention multiplies feature maps with each other"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What is left of a network."""

    parameters_before: int
    parameters: int
    """Of the network, zeros included."""
    zeros: int
    """Weights that stay zero."""


def prune_checkpoint(source: Path, target: Path, *, share: float, weights: bool) -> Pruned:
    """Writes a checkpoint to fine-tune from. share: of the channels of each layer, or of all weights, that go.

    Raises BadInput for an architecture that cannot be pruned, or when nothing would go.
    """
    card, model = read_model(source)
    before = count_parameters(model)
    if weights:
        zero_weights(model, share)
        card = dataclasses.replace(card, sparse=True)
    else:
        if card.architecture in NOT_PRUNABLE:
            raise BadInput(f"{card.architecture} cannot be pruned: {NOT_PRUNABLE[card.architecture]}")
        remove_channels(model, share, card.input_size)
        card = dataclasses.replace(card, pruned=True)
        if count_parameters(model) == before:
            raise BadInput(f"--remove is too little: no layer of {card.architecture} loses {ROUND_TO} channels")
    checkpoint.save(checkpoint.weights_only(card, model), target)
    zeros = sum(int((weight == 0).sum()) for weight in prunable_weights(model)) if weights else 0
    return Pruned(parameters_before=before, parameters=count_parameters(model), zeros=zeros)


def remove_channels(model: ImageClassifier, share: float, input_size: tuple[int, int]) -> None:
    """In place; the classes stay, and layers that are not trained: the norm of a filter that was computed from images
    says nothing of its worth. share: of the channels of each layer, rounded up to leave a multiple of 8.
    """
    import torch_pruning

    trained = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    fixed = [module for module in model.modules() if isinstance(module, nn.Conv2d) and not module.weight.requires_grad]
    model.eval().requires_grad_(True)  # the graph is found by following gradients
    classes = [module for module in model.modules() if isinstance(module, nn.Linear)][-1:]
    pruner = torch_pruning.pruner.MagnitudePruner(
        model,
        torch.zeros(1, 3, *input_size),
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=share,
        ignored_layers=classes + fixed,
        round_to=ROUND_TO,
    )
    pruner.step()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trained[name])


@torch.no_grad()
def zero_weights(model: nn.Module, share: float) -> None:
    """In place: the smallest share of all weights of layers, compared over the whole network."""
    weights = prunable_weights(model)
    magnitudes = torch.cat([weight.abs().flatten() for weight in weights])
    threshold = magnitudes.kthvalue(max(1, int(share * len(magnitudes)))).values
    for weight in weights:
        weight[weight.abs() <= threshold] = 0


def keep_zeros(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """From now on every step of the optimizer leaves at zero what is zero."""
    masks = [(weight, weight != 0) for weight in prunable_weights(model)]

    @torch.no_grad()
    def restore(*_: object) -> None:
        for weight, mask in masks:
            weight.mul_(mask)

    optimizer.register_step_post_hook(restore)


def prunable_weights(model: nn.Module) -> list[torch.Tensor]:
    return [module.weight for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
