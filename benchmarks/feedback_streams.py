"""Simulated feedback: many A/B tests at once, each seen at many looks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from app.e_process import Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """True accuracies, and how the traffic is shared out."""

    champion: float
    challenger: float
    share: float
    """Of the answers that the challenger gives."""

    def __str__(self) -> str:
        return f"{self.champion:.3g} vs {self.challenger:.3g}, {100 * (1 - self.share):.0f}/{100 * self.share:.0f}"

    @property
    def difference(self) -> float:
        return self.challenger - self.champion


@dataclass(frozen=True, slots=True)
class Streams:
    """Cumulative counts of E tests at L looks: float64 [E, L] each."""

    champion: Counts
    challenger: Counts

    def at(self, where: tuple[np.ndarray, ...]) -> tuple[Counts, Counts]:
        """The counts of the looks whose indices these are."""
        return tuple(Counts(arm.n[where], arm.correct[where]) for arm in (self.champion, self.challenger))  # type: ignore[return-value]


def streams(rng: np.random.Generator, scenario: Scenario, *, tests: int, looks: int, step: int) -> Streams:
    """`step` more answers of both arms together from look to look; chance decides which arm each of them falls to."""
    fallen = rng.binomial(step, scenario.share, (tests, looks))
    arms = []
    for n, rate in ((step - fallen, scenario.champion), (fallen, scenario.challenger)):
        correct = rng.binomial(n, rate)
        arms.append(Counts(n.cumsum(1).astype(float), correct.cumsum(1).astype(float)))
    return Streams(*arms)


def chunks(
    seed: int, scenario: Scenario, *, tests: int, looks: int, step: int, cells: int = 250_000
) -> Iterator[Streams]:
    """The same in parts of at most `cells` looks in all, to bound memory."""
    rng = np.random.default_rng(seed)
    size = max(1, cells // looks)
    for start in range(0, tests, size):
        yield streams(rng, scenario, tests=min(size, tests - start), looks=looks, step=step)
