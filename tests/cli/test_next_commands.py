"""What is printed as the next thing to run."""

from __future__ import annotations

from typing import Any

import pytest

from app.cli import job_commands
from app.config import Home
from tests.cli.manta import manta_here


def test_a_page_is_named_by_its_path(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by a command that only some systems have."""
    result: dict[str, Any] = {"report": "/reports/colours.html", "variants": []}
    monkeypatch.setattr(job_commands, "measured", lambda *_: result)
    printed = manta_here(home, "compare", "colours/1")
    assert printed.returncode == 0, printed.stderr
    assert printed.stdout.partition("next:")[2].split() == ["/reports/colours.html"]
