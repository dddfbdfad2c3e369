"""The base of everything that is read from a file or a config."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError


class Strict(BaseModel):
    """Unknown keys are errors: a misspelt setting must not be ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def first_complaint(error: ValidationError) -> str:
    """The first complaint in one line, with the place it is about."""
    complaint = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part) for part in complaint["loc"])
    message = str(complaint["msg"]).removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
