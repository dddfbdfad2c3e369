"""What several settings refuse, in the same words."""

from __future__ import annotations

import re

from app.errors import BadInput


def require(condition: bool, message: str) -> None:
    """Raises BadInput with this message unless the condition holds."""
    if not condition:
        raise BadInput(message)


def require_model_name(name: str | None) -> None:
    """Before hours of training: the registry takes no slash or colon, and `@` begins an alias."""
    require(
        name is None or re.fullmatch(r"\w[\w. -]{0,99}", name) is not None,
        f"--name {name!r:.120} may hold letters, digits, dots, dashes, underscores and spaces, 100 at most, "
        "and begins with a letter or digit",
    )
