"""Answers to the very same bytes by the very same version, for a while. Off unless the arguments set a size."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Answer = TypeVar("Answer")

_Key = tuple[str, bytes]


class ResultCache(Generic[Answer]):
    """Bounded: the entry that was not used for longest goes first."""

    def __init__(self, *, entries: int, ttl_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = entries
        self._ttl_s = ttl_s
        self._clock = clock
        self._entries: OrderedDict[_Key, tuple[float, Answer]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def enabled(self) -> bool:
        return self._most > 0

    def look_up(self, graph: str | None, images: Sequence[bytes]) -> Lookup[Answer]:
        """graph: what tells one version's application from all others; None looks nothing up and keeps nothing."""
        if graph is None or not self.enabled:
            return Lookup(self, images, (), (None,) * len(images))
        keys = [(graph, hashlib.blake2b(image, digest_size=16).digest()) for image in images]
        return Lookup(self, images, keys, [self._get(key) for key in keys])

    def put(self, key: _Key, answer: Answer) -> None:
        self._entries[key] = (self._clock() + self._ttl_s, answer)
        self._entries.move_to_end(key)
        if len(self._entries) > self._most:
            self._entries.popitem(last=False)

    def _get(self, key: _Key) -> Answer | None:
        found = self._entries.get(key)
        if found is None:
            return None
        expires_at, answer = found
        if expires_at <= self._clock():
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return answer


@dataclass(slots=True)
class Lookup(Generic[Answer]):
    """What is known of one request's images."""

    cache: ResultCache[Answer]
    images: Sequence[bytes]
    keys: Sequence[_Key]
    """One for each image, or none when the cache is off."""
    found: Sequence[Answer | None]

    @property
    def missing(self) -> list[bytes]:
        return [image for image, answer in zip(self.images, self.found, strict=True) if answer is None]

    @property
    def hits(self) -> int:
        return len(self.found) - self.found.count(None)

    def keep(self, answers: Sequence[Answer | None]) -> None:
        """Remembers new answers, one for each image that was missing; None for one that is not worth it."""
        keys = [key for key, answer in zip(self.keys, self.found, strict=False) if answer is None]
        for key, answer in zip(keys, answers, strict=False):
            if answer is not None:
                self.cache.put(key, answer)
