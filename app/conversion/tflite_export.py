"""TFLite files, with litert-torch and ai-edge-quantizer (`requirements-tflite.txt`).

The graph is traced with a batch of one and takes any: the interpreter resizes it, which works because global pooling
is a mean over both axes and nothing in it is reshaped.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from app.errors import MantaError
from app.models import ServingModel
from app.models.folding import fold_norms_behind_pools

Precision = Literal["fp32", "fp16", "int8", "int8-dynamic"]

SIGNATURE = "serving_default"
"""litert-torch's name of the one signature of a file."""
STATIC_INT8 = (
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "FULLY_CONNECTED",
    "MAX_POOL_2D",
    "AVERAGE_POOL_2D",
    "ADD",
    "CONCATENATION",
)
"""What static quantization quantizes: normalization, mean and softmax stay float."""


def export_tflite(model: ServingModel, input_size: tuple[int, int], path: Path) -> None:
    """Writes the fp32 file. Raises MantaError when litert-torch is missing, or cannot convert an operator."""
    with _quiet():
        try:
            import litert_torch
        except ImportError as error:
            raise MantaError(
                f"TFLite needs litert-torch ({error}); install it with: "
                "pip install --no-deps -r requirements-tflite.txt"
            ) from error
        named = _Named(copy.deepcopy(model)).cpu().eval()
        fold_norms_behind_pools(named)
        # litert-torch reads weights from where a contiguous copy was: those of a pruned network, which lie
        # channels-last, came out as whatever that memory held next.
        for tensor in (*named.parameters(), *named.buffers()):
            tensor.data = tensor.data.contiguous()
        example = torch.zeros(1, *input_size, 3, dtype=torch.uint8)
        litert_torch.convert(named, sample_kwargs={"images": example}).export(str(path))


class _Named(nn.Module):
    """Gives input and output of the file their names."""

    def __init__(self, model: ServingModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"probabilities": self.model(images)}


def quantize_tflite(fp32: Path, out: Path, precision: Precision, calibration: np.ndarray) -> None:
    """calibration: uint8 [N, H, W, 3].

    All of it is one batch: ai-edge-quantizer takes a moving average over batches, which clips badly when they are
    single images.
    """
    with _quiet():
        from ai_edge_quantizer import qtyping, quantizer, recipe
        from ai_edge_quantizer.algorithm_manager import AlgorithmName

        with _absl_quiet():
            made = quantizer.Quantizer(str(fp32))
            if precision == "fp16":
                weights = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
                made.update_quantization_recipe(
                    regex=".*",
                    operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
                    op_config=qtyping.OpQuantizationConfig(
                        weight_tensor_config=weights,
                        compute_precision=qtyping.ComputePrecision.FLOAT,
                        explicit_dequantize=True,
                    ),
                    algorithm_key=AlgorithmName.FLOAT_CASTING,
                )
            elif precision == "int8-dynamic":
                made.load_quantization_recipe(recipe.dynamic_wi8_afp32())
            else:
                made.load_quantization_recipe(_static_recipe())
            ranges = (
                made.calibrate({SIGNATURE: [{"images": calibration}]}, num_threads=1) if made.need_calibration else None
            )
            made.quantize(ranges).export_model(str(out), overwrite=True)


def _static_recipe() -> list[dict[str, object]]:
    from ai_edge_quantizer import qtyping, recipe_manager

    made = recipe_manager.RecipeManager()
    for layer in STATIC_INT8:
        made.add_static_config(
            regex=".*", operation_name=qtyping.TFLOperationName(layer), activation_num_bits=8, weight_num_bits=8
        )
    result: list[dict[str, object]] = made.get_quantization_recipe()
    return result


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """These tools narrate on both streams, and warn about their own internals."""
    with (
        warnings.catch_warnings(),
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stderr(nowhere),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _absl_quiet() -> Iterator[None]:
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
