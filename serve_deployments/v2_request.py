"""The body of an infer request of the Open Inference Protocol -> images, and how the answer is wanted.

    {"id"?, "parameters"?: {"user_id"?, "quality"?, "binary_data_output"?},
     "inputs": [{"name", "shape", "datatype", "data" | "parameters": {"binary_data_size"}}],
     "outputs"?: [{"name", "parameters"?: {"binary_data"?, "classification"?}}]}
    and behind it, where `Inference-Header-Content-Length` tells its end, the binary data of the inputs in order

One input is expected: `images`, pixels at the model's input size, or `encoded`, image files of any size.
Whatever cannot be used raises BadInput.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.artifact import InputSpec
from app.errors import BadInput
from serve_deployments.request_body import json_type, read_object, read_text
from serve_deployments.v2_tensors import bytes_from_binary, flatten, read_shape, uint8_from_binary, uint8_from_json

IMAGES, ENCODED, PROBABILITIES = "images", "encoded", "probabilities"
HEADER_LENGTH = "inference-header-content-length"

_LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)
_SHARED_MEMORY = "shared_memory_region"


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """How `probabilities` are to be returned."""

    binary: bool = False
    classes: int | None = None
    """As text "value:index:label" for this many classes; None means the numbers."""


@dataclass(frozen=True, slots=True)
class InferRequest:
    """Either `pixels` or `encoded` is there."""

    id: str | None
    user_id: str | None
    quality: str | None
    output: OutputFormat
    pixels: np.ndarray | None = None
    """uint8 [N, H, W, 3] at the model's input size; a view of the body where it was binary."""
    encoded: tuple[bytes | str, ...] = ()
    """Image files: as they are where they were binary, as base64 text where they were JSON."""


@dataclass(frozen=True, slots=True)
class _Input:
    name: str
    datatype: object
    shape: object
    data: object
    binary: memoryview | None


def json_size(body: bytes, header: str | None) -> int:
    """Bytes of JSON at the start of the body, by the header where it is given."""
    if header is None:
        return len(body)
    if not _LENGTH.fullmatch(header) or int(header) > len(body):
        raise BadInput(
            f"Inference-Header-Content-Length must be the size of the JSON, at most the body's {len(body)} bytes"
        )
    return int(header)


def read_infer(body: bytes, size: int, spec: InputSpec, max_images: int) -> InferRequest:
    """`size`: bytes of JSON at the start of `body`."""
    values = read_object(body if size == len(body) else memoryview(body)[:size])
    return infer_request(values, memoryview(body)[size:], spec, max_images)


def infer_request(values: Mapping[str, Any], binary: memoryview, spec: InputSpec, max_images: int) -> InferRequest:
    """values: the request's JSON; binary: the data behind it."""
    identifier = values.get("id")
    if identifier is not None and not isinstance(identifier, str):
        raise BadInput(f"`id` must be text, not {json_type(identifier)}")
    parameters = _parameters(values, "the request")
    output = _output(values.get("outputs"), _flag(parameters, "binary_data_output"))
    tensor = _input(values.get("inputs"), binary)
    return InferRequest(
        id=identifier,
        user_id=read_text(parameters, "user_id"),
        quality=read_text(parameters, "quality"),
        output=output,
        pixels=_pixels(tensor, spec, max_images) if tensor.name == IMAGES else None,
        encoded=_encoded(tensor, max_images) if tensor.name == ENCODED else (),
    )


def _input(inputs: object, binary: memoryview) -> _Input:
    """The one input; `binary` is all that follows the JSON."""
    if not isinstance(inputs, list) or len(inputs) != 1:
        raise BadInput(f"`inputs` must be a list with one tensor, either `{IMAGES}` (UINT8) or `{ENCODED}` (BYTES)")
    values = inputs[0]
    if not isinstance(values, dict):
        raise BadInput(f"an input must be an object, not {json_type(values)}")
    name = values.get("name")
    if name not in (IMAGES, ENCODED):
        raise BadInput(f"there is no input {_short(name)}: give `{IMAGES}` (UINT8) or `{ENCODED}` (BYTES)")
    parameters = _parameters(values, f"input `{name}`")
    if _SHARED_MEMORY in parameters:
        raise BadInput("shared memory is not supported: send the tensor as binary data")
    size = parameters.get("binary_data_size")
    if size is not None and (type(size) is not int or size < 0):
        raise BadInput(f"`binary_data_size` of input `{name}` must be a number of bytes")
    if (size is None) == (values.get("data") is None):
        raise BadInput(f"input `{name}` must have either `data` or the parameter `binary_data_size`")
    if (size or 0) != len(binary):
        raise BadInput(
            f"input `{name}` has {size or 0} bytes of binary data by its `binary_data_size`, but {len(binary)} follow "
            "the JSON, whose size Inference-Header-Content-Length tells"
        )
    return _Input(
        name, values.get("datatype"), values.get("shape"), values.get("data"), None if size is None else binary
    )


def _pixels(tensor: _Input, spec: InputSpec, max_images: int) -> np.ndarray:
    _check_datatype(tensor, "UINT8")
    shape = read_shape(tensor.shape, (-1, spec.height, spec.width, 3), tensor.name, max_images)
    if tensor.binary is not None:
        return uint8_from_binary(tensor.binary, shape, tensor.name)
    return uint8_from_json(tensor.data, shape, tensor.name)


def _encoded(tensor: _Input, max_images: int) -> tuple[bytes | str, ...]:
    _check_datatype(tensor, "BYTES")
    shape = read_shape(tensor.shape, (-1,), tensor.name, max_images)
    if tensor.binary is not None:
        return tuple(bytes_from_binary(tensor.binary, shape[0], tensor.name))
    texts = []
    for value in flatten(tensor.data, shape, tensor.name):
        if not isinstance(value, str):
            raise BadInput(f"`data` of input `{ENCODED}` must be base64 text, not {json_type(value)}")
        texts.append(value)
    return tuple(texts)


def _check_datatype(tensor: _Input, expected: str) -> None:
    if tensor.datatype != expected:
        raise BadInput(f"input `{tensor.name}` must have datatype {expected}, not {_short(tensor.datatype)}")


def _output(outputs: object, binary: bool) -> OutputFormat:
    if outputs is None or outputs == []:
        return OutputFormat(binary)
    if not isinstance(outputs, list) or not all(isinstance(output, dict) for output in outputs):
        raise BadInput(f'`outputs` must be a list like [{{"name": "{PROBABILITIES}"}}]')
    for output in outputs:
        if output.get("name") != PROBABILITIES:
            raise BadInput(f"there is no output {_short(output.get('name'))}: there is `{PROBABILITIES}`")
    if len(outputs) > 1:
        raise BadInput(f"output `{PROBABILITIES}` is asked for {len(outputs)} times")
    parameters = _parameters(outputs[0], f"output `{PROBABILITIES}`")
    if _SHARED_MEMORY in parameters:
        raise BadInput("shared memory is not supported: ask for the output as binary data")
    classes = parameters.get("classification", 0)
    if type(classes) is not int or classes < 0:
        raise BadInput("`classification` must be a number of classes")
    return OutputFormat(_flag(parameters, "binary_data", binary), classes or None)


def _parameters(values: Mapping[str, Any], owner: str) -> dict[str, Any]:
    parameters = values.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise BadInput(f"`parameters` of {owner} must be an object, not {json_type(parameters)}")
    return parameters


def _flag(parameters: Mapping[str, Any], name: str, default: bool = False) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise BadInput(f"`{name}` must be true or false, not {json_type(value)}")
    return value


def _short(value: object) -> str:
    """A value of the client's in a message: text quoted and cut, anything else by its kind."""
    return repr(value[:100]) if isinstance(value, str) else json_type(value)
