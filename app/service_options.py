"""What a user may set of a service: limits, pace, who may call it from a browser, what is remembered and logged.

`manta serve --set NAME=VALUE` sets them, as arguments of the router's application. Which version answers what is the
traffic file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from app.errors import BadInput
from app.strict_model import Strict, first_complaint

MIB = 1024 * 1024


class ServiceOptions(Strict):
    allow_origins: tuple[str, ...] = ()
    """Web pages that may call the service from a browser (CORS): `https://example.org`, or `*` for all."""
    cache_entries: int = Field(default=0, ge=0)
    """Answers that each router remembers by the image's bytes and the version; 0 remembers none."""
    cache_ttl_s: float = Field(default=300.0, gt=0, allow_inf_nan=False)
    """Seconds that an answer is remembered."""
    max_images: int = Field(default=256, ge=1)
    """Images in one request of /predict/batch or infer."""
    max_body_bytes: int = Field(default=32 * MIB, ge=1)
    """Largest request body; larger ones get 413."""
    max_body_bytes_in_all: int = Field(default=256 * MIB, ge=1)
    """Bodies in a router's memory at the same time; beyond that requests get 503."""
    max_queued_images: int = Field(default=4096, ge=1)
    """Images that may wait in a router for one version before requests are refused with 503.

    Fewer where so many would take more than 128 MiB at the model's input size.
    """
    call_timeout_s: float = Field(default=20.0, gt=0, allow_inf_nan=False)
    """Seconds an image may wait for a place, and seconds a call may take with its retries; then 504."""
    challenger_timeout_s: float = Field(default=2.0, gt=0, allow_inf_nan=False)
    """Seconds a version may take before the champion answers in its place."""
    log_requests: float = Field(default=0.0, ge=0, le=1)
    """Share of the answered requests that get a line in the log. Failed ones always do, as far as 20 a second."""

    @field_validator("allow_origins", mode="before")
    @classmethod
    def _separated(cls, value: object) -> object:
        """On the command line they are one text."""
        return [each.strip() for each in value.split(",") if each.strip()] if isinstance(value, str) else value

    @field_validator("allow_origins")
    @classmethod
    def _are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            scheme, _, host = origin.partition("://")
            if origin != "*" and (scheme not in ("http", "https") or not host or "/" in host):
                raise ValueError(f"{origin!r} is no origin: write https://example.org, without a path, or *")
        return origins

    @model_validator(mode="after")
    def _a_full_request_fits(self) -> ServiceOptions:
        if self.max_images > self.max_queued_images:
            raise ValueError("max_images is above max_queued_images: such a request could never be taken")
        if self.max_body_bytes > self.max_body_bytes_in_all:
            raise ValueError("max_body_bytes is above max_body_bytes_in_all: such a body could never be taken")
        return self


_FITTING = {"max_images": 1, "max_queued_images": 1 << 62, "max_body_bytes": 1, "max_body_bytes_in_all": 1 << 62}
"""Options that are bounded by each other, such that each value of one of them is possible."""


def parse_options(settings: Sequence[str]) -> dict[str, Any]:
    """`["cache_entries=1000"]` -> {"cache_entries": 1000}. Raises BadInput for what is no option, or no value of it.

    Whether they fit those that are set already, `checked_options` of all of them says.
    """
    values: dict[str, Any] = {}
    for setting in settings:
        name, is_set, text = setting.partition("=")
        if not is_set or name not in ServiceOptions.model_fields:
            known = ", ".join(ServiceOptions.model_fields)
            raise BadInput(f"{setting!r} sets no option: write NAME=VALUE, where NAME is one of {known}")
        try:
            values[name] = text if name == "allow_origins" else yaml.safe_load(text)
        except yaml.YAMLError:
            values[name] = text
    return {name: value for name, value in checked_options({**_FITTING, **values}).items() if name in values}


def checked_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `values` that are options, as JSON values. Raises BadInput where one of them cannot be."""
    options = {name: value for name, value in values.items() if name in ServiceOptions.model_fields}
    try:
        return ServiceOptions.model_validate(options).model_dump(mode="json", include=set(options))
    except ValidationError as error:
        raise BadInput(first_complaint(error)) from error
