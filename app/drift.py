"""Whether live traffic still looks like the images a version was measured on.

Each measure (predicted class, confidence, brightness, ...) is compared with the reference in the bundle by two numbers,
and both have to speak for drift:

- how large: the population stability index, sum of (p - q) * log(p / q) over the bins. 0.1 counts as a small and 0.2 as
  a considerable change in the credit industry that it comes from (Siddiqi 2006, "Credit Risk Scorecards"; Yurdakul
  2018, "Statistical Properties of Population Stability Index", for its spread by chance). Of few images it is large for
  nothing;
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
    """Population stability index: 0 for the same distribution."""
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
    """Ends of an always-valid interval of the accuracy, at 1 - `CHANCE`."""
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
    lows, highs = rate_interval(counts_of([feedback]), CHANCE)
    low, high = float(lows[0]), float(highs[0])
    by_chance = 3 * (expected * (1 - expected) / max(1, held_out)) ** 0.5
    return FeedbackDrift(
        n=feedback.n,
        accuracy=feedback.accuracy,
        low=low,
        high=high,
        expected=expected,
        drifted=high < expected - max(CONSIDERABLE_LOSS, by_chance),
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
    psi, p_value = stability_index(before, now), homogeneity_p_value(before, now)
    names = distribution.names if distribution.edges else labels
    shares = zip(names, before / max(1, before.sum()), now / max(1, now.sum()), strict=True)
    return MeasureDrift(
        name=name,
        psi=psi,
        p_value=p_value,
        drifted=len(values) >= fewest and psi >= considerable and p_value < CHANCE / len(MEASURES),
        bins=tuple(Bin(each, float(share), float(live)) for each, share, live in shares),
    )


def stability_index(before: np.ndarray, now: np.ndarray) -> float:
    """Of two histograms, int [B] each. Half an image is added to every bin, so that empty ones count, and finitely."""
    p, q = (_smoothed(counts) for counts in (before, now))
    return float(((q - p) * np.log(q / p)).sum())


def homogeneity_p_value(before: np.ndarray, now: np.ndarray) -> float:
    """Of two histograms, int [B] each; 1 where there is nothing to compare."""
    from scipy.special import chdtrc  # here alone: routers, which take their defaults from this module, do without

    table = np.stack([before, now]).astype(np.float64)
    table = table[:, table.sum(0) > 0]
    sizes = table.sum(1)
    if sizes.min() == 0:
        return 1.0
    expected_least = table.sum(0) * sizes.min() / sizes.sum()
    rare = expected_least < _LEAST_EXPECTED
    table = np.column_stack([table[:, ~rare], *([table[:, rare].sum(1)] if rare.any() else [])])
    if table.shape[1] < 2:
        return 1.0
    expected = np.outer(sizes, table.sum(0)) / sizes.sum()
    return float(chdtrc(table.shape[1] - 1, ((table - expected) ** 2 / expected).sum()))


def _smoothed(counts: np.ndarray) -> np.ndarray:
    """float64 [B]: shares, none of which is 0."""
    more = counts + 0.5
    smoothed: np.ndarray = more / more.sum()
    return smoothed
