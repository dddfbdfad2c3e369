"""What the verbs that change a service send to it, without one."""

from __future__ import annotations

from typing import Any

import pytest

from app.admin_client import AdminClient
from app.config import Home
from tests.cli.manta import assert_refused, manta_here

CHANGED = {
    "traffic": {"model": "cats", "revision": 2, "versions": [], "shadow": None, "quality": {}},
    "percent": {},
}
URL = ("--url", "http://127.0.0.1:9")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Changes by kind, with the fields that say what is changed."""
    changes: list[tuple[str, dict[str, Any]]] = []

    def change(_client: AdminClient, kind: str, values: dict[str, Any], **_: Any) -> dict[str, Any]:
        changes.append((kind, {name: value for name, value in values.items() if name not in ("who", "why")}))
        return CHANGED

    monkeypatch.setenv("MANTA_ADMIN_TOKEN", "token")
    monkeypatch.setattr(AdminClient, "change", change)
    return changes


@pytest.mark.parametrize(
    ("arguments", "change"),
    [
        (("promote", "3"), ("promote", {"version": "3"})),
        (("promote", "cats/3"), ("promote", {"version": "3", "model": "cats"})),
        (("promote", "models:/cats/3"), ("promote", {"version": "3", "model": "cats"})),
        (("undeploy", "cats/3"), ("undeploy", {"version": "3", "model": "cats"})),
        (("traffic", "cats/3=10", "4=5%"), ("weights", {"percent": {"3": 10, "4": 5}, "model": "cats"})),
        (("traffic", "3=10"), ("weights", {"percent": {"3": 10}})),
        (("traffic", "--shadow", "cats/3=0.5"), ("shadow", {"version": "3", "share": 0.5, "model": "cats"})),
        (("traffic", "--shadow", "off"), ("shadow", {"version": None})),
    ],
)
def test_the_model_that_is_named_is_sent_with_the_change(
    home: Home, sent: list[tuple[str, dict[str, Any]]], arguments: tuple[str, ...], change: tuple[str, dict[str, Any]]
) -> None:
    assert manta_here(home, *arguments, *URL).returncode == 0
    assert sent == [change]


def test_shares_are_of_one_model(home: Home, sent: list[tuple[str, dict[str, Any]]]) -> None:
    assert_refused(manta_here(home, "traffic", "cats/3=10", "dogs/3=10", *URL), 2, "one model, not of cats and dogs")
    assert sent == []


@pytest.mark.parametrize(
    "arguments",
    [("deploy", "cats/3", "--shadow", "0"), ("deploy", "cats/3", "--shadow", "1.5"), ("traffic", "--shadow", "3=0")],
)
def test_a_shadow_copies_something(
    home: Home, sent: list[tuple[str, dict[str, Any]]], arguments: tuple[str, ...]
) -> None:
    assert_refused(manta_here(home, *arguments, *URL), 2, "a shadow's share is above 0 and at most 1, not ")
    assert sent == []
