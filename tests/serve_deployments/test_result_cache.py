"""The result cache: the same bytes by the same graph, for a while, and never more than there is room for."""

from __future__ import annotations

from serve_deployments.result_cache import ResultCache


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def filled(cache: ResultCache[str], graph: str, **images: str) -> None:
    for name, answer in images.items():
        cache.look_up(graph, [name.encode()]).keep([answer])


def test_what_was_answered_is_found_by_bytes_and_graph() -> None:
    cache: ResultCache[str] = ResultCache(entries=10, ttl_s=60)
    known = cache.look_up("v1", [b"a", b"b"])
    assert (known.missing, known.hits) == ([b"a", b"b"], 0)
    known.keep(["A", None])
    again = cache.look_up("v1", [b"b", b"a", b"a"])
    assert (list(again.found), again.missing, again.hits) == ([None, "A", "A"], [b"b"], 2)
    assert cache.look_up("v2", [b"a"]).hits == 0


def test_new_answers_go_to_the_images_that_were_missing() -> None:
    cache: ResultCache[str] = ResultCache(entries=10, ttl_s=60)
    filled(cache, "v1", a="A")
    cache.look_up("v1", [b"x", b"a", b"y"]).keep(["X", "Y"])
    assert list(cache.look_up("v1", [b"y", b"x", b"a"]).found) == ["Y", "X", "A"]


def test_the_least_used_goes_first() -> None:
    cache: ResultCache[str] = ResultCache(entries=2, ttl_s=60)
    filled(cache, "v", a="A", b="B")
    cache.look_up("v", [b"a"])
    filled(cache, "v", c="C")
    assert [cache.look_up("v", [name]).hits for name in (b"a", b"b", b"c")] == [1, 0, 1]
    assert len(cache) == 2


def test_answers_expire() -> None:
    clock = Clock()
    cache: ResultCache[str] = ResultCache(entries=2, ttl_s=60, clock=clock)
    filled(cache, "v", a="A")
    clock.now = 59.9
    assert cache.look_up("v", [b"a"]).hits == 1
    clock.now = 60
    assert cache.look_up("v", [b"a"]).hits == 0
    assert len(cache) == 0


def test_off_means_nothing_is_kept() -> None:
    off: ResultCache[str] = ResultCache(entries=0, ttl_s=60)
    filled(off, "v", a="A")
    on: ResultCache[str] = ResultCache(entries=5, ttl_s=60)
    on.look_up(None, [b"a"]).keep(["A"])
    assert (len(off), len(on)) == (0, 0)
    assert off.look_up("v", [b"a", b"b"]).missing == [b"a", b"b"]
