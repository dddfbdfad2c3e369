"""fp16 graphs, for GPUs: half the bytes. A CPU computes them in fp32 and gains nothing but the size."""

from __future__ import annotations

import warnings
from pathlib import Path

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

FLOAT_OPERATORS = ("Softmax", "ReduceMean")
"""Sums of many values, which 10 bits of mantissa would round."""


def half_precision(fp32: Path, out: Path) -> None:
    """Weights and most operators become float16; input and output of the graph stay as they are."""
    graph = onnx.load(fp32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it tells of every weight that is rounded to zero
        half = convert_float_to_float16(graph, keep_io_types=True, op_block_list=list(FLOAT_OPERATORS))
    OnnxModel(half).topological_sort()  # casts are appended at the end
    onnx.checker.check_model(half, full_check=True)
    onnx.save(half, out)
