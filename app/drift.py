"""Whether live traffic still looks like the images a version was measured on.

Each measure (predicted class, confidence, brightness, ...) is compared with the reference in the bundle by two numbers,
and both have to speak for drift:

- how large: the population stability index, sum of (p - q) * log(p / q) over the bins. 0.1 counts as a small and 0.2 as
  a considerable change in the credit industry that it comes from (Siddiqi 2006, "Credit Risk Scorecards"). What chance
  alone adds, (bins - 1) * (1/n + 1/m) on average for samples of n and m (Yurdakul 2018, "Statistical Properties of
  Population Stability Index"), is taken off: with few images, or many classes, it would be drift by itself;
- how sure: the p-value of Pearson's chi-square test of homogeneity of two samples (Pearson 1911), with the reference's
  own size taken into account. Of many images it is small for nothing that matters.

Images of one minute resemble each other, and the test takes them for independent. So a window is an hour rather than a
minute, and the size of a change counts as well.

None of these measures says whether answers are worse. Feedback does: its accuracy is compared with the measured one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from app.e_process import rate_interval
from app.feedback import Feedback, counts_of
from app.reference import MEASURES, Reference

CHANCE = 1e-4
"""That any measure fails the test at one look, where nothing has changed."""
CONSIDERABLE = 0.2
"""Population stability index."""
FEWEST_IMAGES = 200
CONSIDERABLE_LOSS = 0.01
"""Of accuracy on feedback."""
_LEAST_EXPECTED = 5.0
"""Images in a bin, for the chi-square distribution to hold (Cochran 1954); rarer bins are taken together."""


@dataclass(frozen=True, slots=True)
class Bin:
    name: str
    reference: float
    """Share of the reference's images, 0 to 1."""
    live: float
    """Share of the live ones."""


@dataclass(frozen=True, slots=True)
class MeasureDrift:
    name: str
    psi: float
    """Population stability index, less what chance adds: 0 for the same distribution."""
    p_value: float
    drifted: bool
    bins: tuple[Bin, ...]

    @property
    def most_changed(self) -> Bin:
        return max(self.bins, key=lambda each: abs(each.live - each.reference))

    def __str__(self) -> str:
        most = self.most_changed
        return f"{self.name}: PSI {self.psi:.2f}; {most.name} in {most.live:.0%} of images, {most.reference:.0%} before"


@dataclass(frozen=True, slots=True)
class FeedbackDrift:
    """Users' labels against the accuracy on held-out images."""

    n: int
    accuracy: float | None
    low: float
    high: float
    """Ends of an interval of the accuracy, at 1 - `CHANCE`."""
    expected: float
    """Accuracy on held-out images."""
    drifted: bool

    def __str__(self) -> str:
        accuracy = "unknown" if self.accuracy is None else f"{self.accuracy:.1%}"
        return f"feedback: accuracy {accuracy} of {self.n:,} images, {self.expected:.1%} before"


def compare_feedback(feedback: Feedback, expected: float, held_out: int) -> FeedbackDrift:
    """Whether answers are worse than they were on `held_out` images, by more than chance and `CONSIDERABLE_LOSS`.

    expected: the accuracy on those. That only some users tell what an image was is not taken into account.
    """
    measured = Feedback(held_out, round(expected * held_out))
    lows, highs = rate_interval(counts_of([feedback, measured]), CHANCE)
    return FeedbackDrift(
        n=feedback.n,
        accuracy=feedback.accuracy,
        low=float(lows[0]),
        high=float(highs[0]),
        expected=expected,
        drifted=float(highs[0]) < min(float(lows[1]), expected - CONSIDERABLE_LOSS),
    )


def compare(
    reference: Reference,
    live: Mapping[str, np.ndarray],
    labels: Sequence[str],
    *,
    considerable: float = CONSIDERABLE,
    fewest: int = FEWEST_IMAGES,
) -> list[MeasureDrift]:
    """One entry for each of `MEASURES`, in that order.

    live: values [N] by measure, class ids for the prediction. labels: of the classes.
    considerable: population stability index from which on a change counts. fewest: live images below which none does.
    """
    return [
        _of_measure(name, reference, live[name], labels, considerable=considerable, fewest=fewest) for name in MEASURES
    ]


def _of_measure(
    name: str, reference: Reference, values: np.ndarray, labels: Sequence[str], *, considerable: float, fewest: int
) -> MeasureDrift:
    distribution = reference.measures[name]
    before, now = np.array(distribution.counts), distribution.count(values)
    psi, p_value = beyond_chance(before, now), homogeneity_p_value(before, now)
    names = distribution.names if distribution.edges else labels
    shares = zip(names, before / max(1, before.sum()), now / max(1, now.sum()), strict=True)
    return MeasureDrift(
        name=name,
        psi=psi,
        p_value=p_value,
        drifted=len(values) >= fewest and psi >= considerable and p_value < CHANCE / len(MEASURES),
        bins=tuple(Bin(each, float(share), float(live)) for each, share, live in shares),
    )


def beyond_chance(before: np.ndarray, now: np.ndarray) -> float:
    """The stability index of two histograms, int [B] each, less what chance adds to it; at least 0."""
    if not (before.sum() and now.sum()):
        return 0.0
    used = int(np.count_nonzero(before + now))
    by_chance = (used - 1) * (1 / before.sum() + 1 / now.sum())
    return max(0.0, stability_index(before, now) - float(by_chance))


def stability_index(before: np.ndarray, now: np.ndarray) -> float:
    """Of two histograms, int [B] each. Half an image is added to every bin, so that empty ones count, and finitely."""
    p, q = (_smoothed(counts) for counts in (before, now))
    return float(((q - p) * np.log(q / p)).sum())


def homogeneity_p_value(before: np.ndarray, now: np.ndarray) -> float:
    """Of two histograms, int [B] each; 1 where there is nothing to compare."""
    from scipy.special import chdtrc  # here alone: routers, which take their defaults from this module, do without

    if not (before.sum() and now.sum()):
        return 1.0
    groups = _groups(before, int(min(before.sum(), now.sum())))
    table = np.stack([np.bincount(groups, weights=counts) for counts in (before, now)])
    table = table[:, table.sum(0) > 0]
    if table.shape[1] < 2:
        return 1.0
    sizes = table.sum(1)
    expected = np.outer(sizes, table.sum(0)) / sizes.sum()
    return float(chdtrc(table.shape[1] - 1, ((table - expected) ** 2 / expected).sum()))


def _groups(before: np.ndarray, smallest: int) -> np.ndarray:
    """int64 [B]: the group of each bin, some together until a sample of that size is expected to have enough.

    It follows from the reference alone: groups that were made to fit what is tested would make the test wrong. Which
    are taken together is a draw, always the same, so that no order in the labels hides what changes.
    """
    expected = _smoothed(before) * smallest
    groups = np.empty(len(before), np.int64)
    group, gathered = 0, 0.0
    for index in np.random.default_rng(0).permutation(len(before)).tolist():
        groups[index] = group
        gathered += float(expected[index])
        if gathered >= _LEAST_EXPECTED:
            group, gathered = group + 1, 0.0
    if gathered and group:  # what is left over is too little for a group of its own
        groups[groups == group] = group - 1
    return groups


def _smoothed(counts: np.ndarray) -> np.ndarray:
    """float64 [B]: shares, none of which is 0."""
    more = counts + 0.5
    smoothed: np.ndarray = more / more.sum()
    return smoothed
