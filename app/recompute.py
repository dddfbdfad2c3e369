"""Gradient checkpointing: activations are computed again in the backward pass and not kept (Chen et al. 2016)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def recompute_blocks(net: nn.Module) -> None:
    """Makes every block of the network (each child of its sequences) keep only its input for the backward pass."""
    for sequence in net.children():
        if isinstance(sequence, nn.Sequential):
            for block in sequence.children():
                if any(True for _ in block.parameters()):
                    _recompute(block)


def _recompute(block: nn.Module) -> None:
    forward = block.forward

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _frozen_statistics(block)

    def forward_in_two_passes(images: torch.Tensor) -> torch.Tensor:
        if not torch.is_grad_enabled():
            return forward(images)
        return checkpoint(forward, images, use_reentrant=False, context_fn=contexts)

    block.forward = forward_in_two_passes


@contextlib.contextmanager
def _frozen_statistics(block: nn.Module) -> Iterator[None]:
    """Running statistics have seen the batch in the first pass already."""
    norms = [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
