"""What `manta serve --set` takes."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from app.errors import BadInput
from app.service_options import ServiceOptions, checked_options, parse_options


def test_values_have_their_types() -> None:
    settings = ["cache_entries=1000", "cache_ttl_s=2.5", "allow_origins=https://a.example, http://b.example:8080"]
    assert parse_options(settings) == {
        "cache_entries": 1000,
        "cache_ttl_s": 2.5,
        "allow_origins": ["https://a.example", "http://b.example:8080"],
    }
    assert parse_options(["allow_origins=*"]) == {"allow_origins": ["*"]}
    assert parse_options(["allow_origins="]) == {"allow_origins": []}, "off again"
    assert parse_options([]) == {}
    assert parse_options(["max_images=2000"]) == {"max_images": 2000}, "which more room in the queue may allow"


@pytest.mark.parametrize(
    ("setting", "match"),
    [
        ("cache_entries", "NAME=VALUE"),
        ("cash_entries=1", "where NAME is one of allow_origins, cache_entries"),
        ("max_batch=1", "sets no option"),
        ("cache_entries=-1", "cache_entries: "),
        ("cache_entries=many", "cache_entries: "),
        ("cache_entries=[", "cache_entries: "),
        ("call_timeout_s=.inf", "call_timeout_s: "),
        ("cache_ttl_s=0", "cache_ttl_s: "),
        ("log_requests=2", "log_requests: "),
        ("allow_origins=example.org", "'example.org' is no origin"),
        ("allow_origins=https://example.org/", "without a path"),
    ],
)
def test_what_is_no_option_or_no_value_of_it(setting: str, match: str) -> None:
    with pytest.raises(BadInput, match=match):
        parse_options([setting])


def test_options_that_contradict_each_other() -> None:
    with pytest.raises(BadInput, match="could never be taken"):
        parse_options(["max_body_bytes=200", "max_body_bytes_in_all=100"])


def test_options_are_checked_together_with_those_that_are_set() -> None:
    set_before = {"max_queued_images": 100, "max_images": 50, "max_batch": 8}
    assert checked_options(set_before) == {"max_queued_images": 100, "max_images": 50}
    with pytest.raises(BadInput, match="could never be taken"):
        checked_options({**set_before, "max_images": 200})


def test_every_option_is_explained() -> None:
    """In its docstring, which the documentation repeats."""
    source = inspect.getsource(ServiceOptions)
    for name in ServiceOptions.model_fields:
        assert source.split(f"    {name}: ")[1].split("\n")[1].startswith('    """')


def test_the_documentation_has_every_option_with_its_default() -> None:
    text = (Path(__file__).parents[2] / "docs" / "DEPLOYMENT.md").read_text(encoding="utf-8")
    table = text.partition("| option | default |")[2].partition("\n\n")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (\S+) \|", table, re.MULTILINE))
    defaults = {name: field.default for name, field in ServiceOptions.model_fields.items()}
    assert rows == {
        name: "none" if default == () else str(default).removesuffix(".0") for name, default in defaults.items()
    }
