"""Mixed precision where it is measured to be faster."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch

from app.models import architecture


def autocast(precision: str, device: torch.device, model: str) -> AbstractContextManager[Any]:
    """The reusable autocast context that `precision` asks for on this device, for the architecture of that name."""
    if precision == "auto":
        suits = device.type != "cpu" or architecture(model).bf16_on_cpu
        precision = "bf16" if suits and has_fast_bf16(device) else "fp32"
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=precision != "fp32")


def has_fast_bf16(device: torch.device) -> bool:
    """On a CPU with instructions for it, where most networks train nearly twice as fast (docs/PERFORMANCE.md)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
