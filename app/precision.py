"""Mixed precision where it is measured to be faster."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch

from app.models import architecture


def autocast(precision: str, device: torch.device, model: str) -> AbstractContextManager[Any]:
    """The reusable autocast context that `precision` asks for on this device, for the architecture of that name."""
    if precision == "auto":
        precision = "bf16" if _has_fast_bf16(device, model) else "fp32"
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=precision != "fp32")


def _has_fast_bf16(device: torch.device, model: str) -> bool:
    """On a CPU with instructions for it, 1.5 to 2 times the speed of fp32, and 0.8 without: docs/PERFORMANCE.md."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu" or not architecture(model).bf16_on_cpu:
        return False
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
