"""Batch normalization folded into convolutions where exporters do not see that it can be."""

from __future__ import annotations

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_norms_behind_pools(net: nn.Module) -> None:
    """conv -> max pool -> norm becomes conv -> max pool, and conv -> ReLU -> max pool where a ReLU came behind.

    In place, for evaluation. A maximum and a rising function may change places, so this is exact where every scale of
    the norm is positive; other blocks stay as they are. Runtimes then run convolution and ReLU as one kernel, in int8
    too.
    """
    for block in net.modules():
        if isinstance(block, nn.Sequential):
            for start in range(len(block) - 2):
                _fold(block, start)


def _fold(block: nn.Sequential, start: int) -> None:
    conv, pool, norm = list(block)[start : start + 3]
    if not (
        isinstance(conv, nn.Conv2d)
        and isinstance(pool, nn.MaxPool2d)
        and isinstance(norm, nn.BatchNorm2d)
        and bool((norm.weight > 0).all())
    ):
        return
    # In double precision: a channel of little variance is scaled up, and its rounding errors with it.
    block[start] = fuse_conv_bn_eval(conv.double(), norm.double()).float()
    block[start + 2] = nn.Identity()
    if start + 3 < len(block) and isinstance(block[start + 3], nn.ReLU):
        block[start + 1], block[start + 3] = block[start + 3], pool
