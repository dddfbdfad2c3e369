"""A request's body -> encoded images and options. Bad input of any kind raises BadInput, never more.

JSON            {"image": base64 or data: URL, "top_k": 5, "user_id": "..."}
raw             the encoded image itself, `image/*` or `application/octet-stream`; ?top_k=
multipart       one file; `top_k` as a field or in the query
JSON, batch     {"images": [{"image": ...}, ...], "top_k": 5}
"""

from __future__ import annotations

import asyncio
import binascii
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from app.errors import BadInput, BodyTooLarge, Overloaded
from serve_deployments.content_coding import content_encoding, inflate
from serve_deployments.problem import UnsupportedMedia
from serve_deployments.request_headers import header

DEFAULT_TOP_K = 5
PIECE = 1 << 20
"""Bytes of a body worked on at a time (base64: 1.2 ms), before other requests get their turn."""

MAX_JSON_VALUES = 1_000_000
"""Values of all kinds in one JSON text: its parser lets nobody else work.

A million numbers take 0.05 s, and 0.2 s in lists of three, as pixels are.
"""

USER_ID = "x-user-id"
MODEL_VERSION = "x-model-version"
LONGEST_NAME = 256
"""Characters of a name that the client sends: a user, a version."""

_HELD = "manta.body_bytes"
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
_DATA_URL = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)


@dataclass(slots=True)
class PredictRequest:
    """Encoded images, or for an image of a batch that could not be read, why."""

    images: list[bytes | BadInput]
    top_k: int
    user_id: str | None = None
    quality: str | None = None


class Bodies:
    """Reads bodies, and bounds how much of the memory they take together."""

    def __init__(self, *, max_bytes: int, max_bytes_in_all: int) -> None:
        self._max_bytes = max_bytes
        self._max_bytes_in_all = max_bytes_in_all
        self._held = 0

    async def read(self, request: Request) -> bytes:
        """The whole body, counted until `release`.

        Raises BodyTooLarge, from Content-Length before anything is read or else while reading, and
        Overloaded when other requests hold too much already.
        """
        length = header(request, "content-length") or ""
        if length.isdecimal() and int(length[:18]) > self._max_bytes:
            raise BodyTooLarge(f"the body has {length[:18]} bytes, the limit is {self._max_bytes:,}")
        return await self._collect(request, request.stream())

    async def read_content(self, request: Request) -> bytes:
        """The body without its Content-Encoding; the limits hold for what it inflates to as well.

        Raises UnsupportedMedia for an unknown encoding, BadInput for a damaged body, and what `read` raises.
        """
        encoding = content_encoding(request)
        body = await self.read(request)
        if encoding == "identity":
            return body
        return await self._collect(request, inflate(body, encoding))

    async def _collect(self, request: Request, stream: AsyncIterator[bytes]) -> bytes:
        chunks, size = [], 0
        async for chunk in stream:
            size += len(chunk)
            self._held += len(chunk)
            request.scope[_HELD] = request.scope.get(_HELD, 0) + len(chunk)
            if size > self._max_bytes:
                raise BodyTooLarge(f"the body is larger than the limit of {self._max_bytes:,} bytes")
            if self._held > self._max_bytes_in_all:
                raise Overloaded("too many large requests at the same time, try again later")
            chunks.append(chunk)
        return b"".join(chunks)

    def release(self, request: Request) -> None:
        """The request is answered."""
        self._held -= request.scope.pop(_HELD, 0)


async def read_predict(request: Request, bodies: Bodies) -> PredictRequest:
    """POST /predict in any of its forms. Raises BadInput, BodyTooLarge or UnsupportedMedia."""
    kind = media_type(request)
    if kind == "application/json":
        values = read_object(await bodies.read(request))
        if "image" not in values:
            raise BadInput("the field `image` is missing")
        image = await decode_base64(values["image"])
        return PredictRequest([image], _top_k(values), read_text(values, "user_id"), read_text(values, "quality"))
    if kind == "multipart/form-data":
        return await _read_multipart(request, bodies)
    if kind.startswith("image/") or kind == "application/octet-stream":
        image = await bodies.read(request)
        if not image:
            raise BadInput("the body is empty")
        return _with_text_options(image, request.query_params)
    raise UnsupportedMedia(
        f"content type {kind or '(none)'} is not supported: send application/json, image/*, "
        "application/octet-stream or multipart/form-data"
    )


async def read_batch(request: Request, bodies: Bodies, max_images: int) -> PredictRequest:
    """POST /predict/batch. An image that cannot be read takes its place in the list as a BadInput."""
    kind = media_type(request)
    if kind != "application/json":
        raise UnsupportedMedia(f"content type {kind or '(none)'} is not supported: send application/json")
    values = read_object(await bodies.read(request))
    items = values.get("images")
    if not isinstance(items, list):
        raise BadInput('the field `images` must be a list of objects like {"image": "<base64>"}')
    if not 1 <= len(items) <= max_images:
        raise BadInput(f"`images` must hold 1 to {max_images} images, not {len(items)}")
    top_k, user_id, quality = _top_k(values), read_text(values, "user_id"), read_text(values, "quality")
    return PredictRequest([await _batch_item(item) for item in items], top_k, user_id, quality)


def media_type(request: Request) -> str:
    """The content type without its parameters. Raises UnsupportedMedia for a compressed body."""
    encoding = header(request, "content-encoding") or "identity"
    if encoding.lower() != "identity":
        raise UnsupportedMedia(f"content encoding {encoding} is not supported: send the body as it is")
    kind = (header(request, "content-type") or "").partition(";")[0].strip().lower()
    return "application/json" if kind.endswith("+json") else kind


async def decode_base64(value: object) -> bytes:
    """Base64 text, as it is or in a data: URL. Raises BadInput."""
    if not isinstance(value, str):
        raise BadInput(f"`image` must be base64 text, not {json_type(value)}")
    text = value
    if text[:5].lower() == "data:":
        head = _DATA_URL.match(text)
        if head is None:
            raise BadInput("`image` is a data: URL without base64")
        text = text[head.end() :]
    try:
        decoded = await _decode_pieces(text)
    except (binascii.Error, ValueError):
        compact = "".join(text.split())  # what `base64 FILE` prints is wrapped at 76 columns
        if len(compact) == len(text):
            raise BadInput("`image` is not base64") from None
        return await decode_base64(compact)
    if not decoded:
        raise BadInput("`image` is empty")
    return decoded


async def _decode_pieces(text: str) -> bytes:
    if len(text) <= PIECE:
        return binascii.a2b_base64(text, strict_mode=True)
    pieces = []
    for start in range(0, len(text), PIECE):
        pieces.append(binascii.a2b_base64(text[start : start + PIECE], strict_mode=True))
        if len(pieces[-1]) < PIECE // 4 * 3 and start + PIECE < len(text):
            raise BadInput("`image` is not base64: padding in the middle")
        await asyncio.sleep(0)
    return b"".join(pieces)


async def _batch_item(item: object) -> bytes | BadInput:
    if not isinstance(item, dict):
        return BadInput(f'an image must be an object like {{"image": "<base64>"}}, not {json_type(item)}')
    if "image" not in item:
        return BadInput("the field `image` is missing")
    try:
        return await decode_base64(item["image"])
    except BadInput as error:
        return error


async def _read_multipart(request: Request, bodies: Bodies) -> PredictRequest:
    async def stream() -> AsyncGenerator[bytes, None]:
        for start in range(0, len(body), PIECE):
            yield body[start : start + PIECE]
            await asyncio.sleep(0)

    body = await bodies.read(request)
    if not body:
        raise BadInput("the body is empty")
    try:
        form = await MultiPartParser(request.headers, stream(), max_files=2).parse()
    except (MultiPartException, ValueError, LookupError) as error:  # the last two: boundary, charset, malformed parts
        raise BadInput(f"the multipart body cannot be read: {error}") from error
    try:
        files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        if len(files) != 1:
            raise BadInput(f"one file is expected, not {len(files)}")
        image = await files[0].read()
        fields = {name: value for name, value in form.multi_items() if isinstance(value, str)}
    finally:
        await form.close()
    if not image:
        raise BadInput("the file is empty")
    return _with_text_options(image, {**request.query_params, **fields})


def _with_text_options(image: bytes, fields: Mapping[str, Any]) -> PredictRequest:
    """Options from the query or a form, where everything is text."""
    user_id, quality = read_text(fields, "user_id"), read_text(fields, "quality")
    return PredictRequest([image], _top_k_text(fields.get("top_k")), user_id, quality)


def read_header(request: Request, name: str) -> str | None:
    """A header that holds a name; None when it was not sent. Raises BadInput for a value that cannot be one."""
    value = header(request, name)
    if value is not None and not 1 <= len(value) <= LONGEST_NAME:
        raise BadInput(f"the header {name} must hold 1 to {LONGEST_NAME} characters")
    return value


def read_object(body: bytes | memoryview) -> dict[str, Any]:
    """A JSON object. Raises BadInput for anything else, BodyTooLarge when it is one of very many small parts."""
    if not body:
        raise BadInput("the body is empty")
    if len(body) > MAX_JSON_VALUES and _values(bytes(body)) > MAX_JSON_VALUES:
        raise BodyTooLarge(f"the JSON holds more than {MAX_JSON_VALUES:,} values; send tensors as binary data")
    try:
        values = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadInput(f"the body is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise BadInput(f"the body must be a JSON object, not {json_type(values)}")
    return values


def _values(text: bytes) -> int:
    """About how many values a JSON text has, counted without parsing it; none of these letters is one of base64's."""
    return sum(text.count(mark) for mark in (b",", b"[", b"{"))


def _top_k(values: dict[str, Any]) -> int:
    value = values.get("top_k", DEFAULT_TOP_K)
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if not whole or isinstance(value, bool) or value < 1:
        raise BadInput("`top_k` must be a whole number of 1 or more")
    return int(value)


def _top_k_text(value: object) -> int:
    if value is None:
        return DEFAULT_TOP_K
    if not isinstance(value, str) or not _WHOLE_NUMBER.fullmatch(value):
        raise BadInput("`top_k` must be a whole number of 1 or more")
    return _top_k({"top_k": int(value)})


def read_text(values: Mapping[str, Any], name: str) -> str | None:
    """The field `name`, None when there is none. Raises BadInput."""
    value = values.get(name)
    if value is not None and (not isinstance(value, str) or not 1 <= len(value) <= LONGEST_NAME):
        raise BadInput(f"`{name}` must be text of 1 to {LONGEST_NAME} characters")
    return value


def json_type(value: object) -> str:
    """The kind of a parsed JSON value, with its article, for messages."""
    names = {dict: "an object", list: "a list", str: "text", bool: "a boolean", int: "a number", float: "a number"}
    return "null" if value is None else names[type(value)]
