"""Which images a job reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from app.errors import BadInput
from app.settings.checks import require


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Which labelled images, and how they are read."""

    BUILT_IN: ClassVar[tuple[str, ...]] = ("digits", "cifar10")

    data: str = "digits"
    """digits, cifar10, or the path of a folder or zip: train/<class>/* with val/ or test/, or only <class>/*."""
    image_size: int | None = None
    """Side in pixels that images are resized to. Unless given, it follows from the images."""
    max_bad: str = "1%"
    """Unreadable files, as in 1% or 0.01 of all, above which the job stops."""

    def __post_init__(self) -> None:
        # Where a job has images unless some are given, they are not named.
        require(bool(self.data) or type(self).data == "", "--data must not be empty")
        require(bool(self.data) or self.image_size is None, "--image-size is for images that --data names")
        require(self.image_size is None or 1 <= self.image_size <= 1024, "--image-size must be between 1 and 1024")
        require(0 <= self.max_bad_share <= 1, f"--max-bad is between 0% and 100%, not {self.max_bad}")

    @property
    def max_bad_share(self) -> float:
        """Raises BadInput for a text that is no number or percentage."""
        number, percent, rest = self.max_bad.strip().partition("%")
        try:
            share = float(number) / (100 if percent else 1)
        except ValueError as error:
            raise BadInput(f"--max-bad is a share such as 1% or 0.01, not {self.max_bad!r}") from error
        require(not rest, f"--max-bad is a share such as 1% or 0.01, not {self.max_bad!r}")
        return share
