"""Drift is seen where there is some, and nowhere else: also of few images, rare classes, and at many looks."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
from scipy.stats import chi2_contingency

from app.drift import (
    MeasureDrift,
    beyond_chance,
    compare,
    compare_feedback,
    homogeneity_p_value,
    stability_index,
)
from app.feedback import Feedback
from app.image_statistics import NAMES, image_statistics
from app.reference import CONFIDENCE, MEASURES, PREDICTION, Reference, reference_of

LABELS = tuple("abcdefghij")


def images_of(generator: np.random.Generator, count: int, *, brightness: float = 100.0) -> np.ndarray:
    """uint8 [N, 8, 8, 3]: each as bright and contrasty as chance has it."""
    mean = generator.normal(brightness, 25, (count, 1, 1, 1))
    noise = generator.normal(0, 1, (count, 8, 8, 3)) * generator.uniform(10, 40, (count, 1, 1, 1))
    return np.clip(mean + noise, 0, 255).astype(np.uint8)


def probabilities_of(generator: np.random.Generator, count: int, *, sureness: float = 8.0) -> np.ndarray:
    """float32 [N, 10]."""
    logits = generator.normal(0, 1, (count, 10))
    logits[np.arange(count), generator.integers(0, 10, count)] += generator.gamma(sureness, 1, count)
    exponents = np.exp(logits)
    shares: np.ndarray = (exponents / exponents.sum(1, keepdims=True)).astype(np.float32)
    return shares


def live_of(images: np.ndarray, probabilities: np.ndarray) -> dict[str, np.ndarray]:
    statistics = dict(zip(NAMES, image_statistics(images).T, strict=True))
    return {PREDICTION: probabilities.argmax(1), CONFIDENCE: probabilities.max(1), **statistics}


@pytest.fixture(scope="module")
def reference() -> Reference:
    generator = np.random.default_rng(0)
    return reference_of(images_of(generator, 2000), probabilities_of(generator, 2000))


def drifted(found: list[MeasureDrift]) -> set[str]:
    return {each.name for each in found if each.drifted}


def looked(reference: Reference, live: Mapping[str, np.ndarray]) -> set[str]:
    return drifted(compare(reference, live, LABELS))


def test_other_images_are_seen_and_named(reference: Reference) -> None:
    generator = np.random.default_rng(1)
    live = live_of(images_of(generator, 500, brightness=160), probabilities_of(generator, 500))
    found = compare(reference, live, LABELS)
    assert [each.name for each in found] == list(MEASURES)
    assert "brightness" in drifted(found)
    assert drifted(found).isdisjoint({PREDICTION, CONFIDENCE})
    brightness = found[MEASURES.index("brightness")]
    assert brightness.most_changed.name.startswith("above")
    assert str(brightness).startswith("brightness: PSI ")
    for each in found:
        assert math.fsum(one.live for one in each.bins) == pytest.approx(1)
        assert math.fsum(one.reference for one in each.bins) == pytest.approx(1)


def test_other_answers_are_seen(reference: Reference) -> None:
    generator = np.random.default_rng(2)
    images = images_of(generator, 400)
    assert looked(reference, live_of(images, probabilities_of(generator, 400, sureness=2.0))) == {CONFIDENCE}
    live = live_of(images, probabilities_of(generator, 400))
    live[PREDICTION] = np.where(generator.random(400) < 0.5, 3, live[PREDICTION])
    found = compare(reference, live, LABELS)
    assert drifted(found) == {PREDICTION}
    assert found[0].most_changed.name == "d"


def test_no_drift_is_claimed_where_there_is_none(reference: Reference) -> None:
    """400 looks at fresh images, of every size: the test would claim something in 1 of 25 such series."""
    generator = np.random.default_rng(3)
    unlikely = 0
    for count in (200, 300, 1000, 3000) * 100:
        live = live_of(images_of(generator, count), probabilities_of(generator, count))
        found = compare(reference, live, LABELS)
        assert drifted(found) == set()
        unlikely += sum(each.p_value < 0.01 for each in found)
    assert 8 <= unlikely <= 45, "of 2,400: 24 on average"


def test_a_small_reference_is_taken_into_account() -> None:
    """Its tenths are uncertain themselves: against ten thousand images, the test alone must not call that drift."""
    generator = np.random.default_rng(4)
    claims = 0
    for _ in range(50):
        small = reference_of(images_of(generator, 60), probabilities_of(generator, 60))
        found = compare(small, live_of(images_of(generator, 5000), probabilities_of(generator, 5000)), LABELS)
        claims += sum(each.p_value < 1e-3 for each in found)
    assert claims <= 3, "of 300, at a chance of 1e-3 each"


def test_few_images_say_nothing(reference: Reference) -> None:
    generator = np.random.default_rng(5)
    live = live_of(images_of(generator, 199, brightness=250), probabilities_of(generator, 199))
    assert looked(reference, live) == set()
    assert drifted(compare(reference, live, LABELS, fewest=199)) >= {"brightness"}
    nothing = {name: values[:0] for name, values in live.items()}
    assert all((each.p_value, each.drifted) == (1.0, False) for each in compare(reference, nothing, LABELS))


def test_a_difference_that_is_sure_but_small_is_no_drift(reference: Reference) -> None:
    generator = np.random.default_rng(6)
    live = live_of(images_of(generator, 20_000, brightness=104), probabilities_of(generator, 20_000))
    found = compare(reference, live, LABELS)
    assert found[MEASURES.index("brightness")].p_value < 1e-5
    assert drifted(found) == set()
    assert "brightness" in drifted(compare(reference, live, LABELS, considerable=0.01))


def many_classes(generator: np.random.Generator, count: int, *, of: int) -> np.ndarray:
    return generator.integers(0, of, count)


def test_half_of_many_classes_gone_is_drift() -> None:
    generator = np.random.default_rng(7)
    before = np.bincount(many_classes(generator, 10_000, of=100), minlength=100)
    now = np.bincount(generator.choice(np.arange(0, 100, 2), 300), minlength=100)
    assert homogeneity_p_value(before, now) < 1e-3
    halves = np.bincount(generator.choice(50, 300), minlength=100)
    assert homogeneity_p_value(before, halves) < 1e-10
    assert beyond_chance(before, halves) > 0.5


def test_many_classes_and_few_images_are_no_drift_by_themselves() -> None:
    """Half an image in every empty bin and the sampling of both make an index of 0.3."""
    generator = np.random.default_rng(8)
    indexes, unlikely = [], 0
    for _ in range(200):
        before = np.bincount(many_classes(generator, 2000, of=100), minlength=100)
        now = np.bincount(many_classes(generator, 300, of=100), minlength=100)
        indexes.append(beyond_chance(before, now))
        unlikely += homogeneity_p_value(before, now) < 0.05
    assert max(indexes) < 0.2
    assert unlikely <= 22, "of 200: 10 on average"


def test_the_index_is_what_the_books_have() -> None:
    before, now = np.array([500, 300, 200]) * 1000, np.array([400, 300, 300]) * 1000
    expected = (0.4 - 0.5) * math.log(0.4 / 0.5) + (0.3 - 0.2) * math.log(0.3 / 0.2)
    assert stability_index(before, now) == pytest.approx(expected, rel=1e-4)
    assert stability_index(before, before) == 0
    assert math.isfinite(stability_index(np.array([10, 0]), np.array([0, 10])))


def test_the_p_value_is_scipys() -> None:
    before, now = np.array([50, 30, 20]), np.array([40, 45, 30])
    assert homogeneity_p_value(before, now) == pytest.approx(chi2_contingency([before, now]).pvalue)
    assert homogeneity_p_value(np.array([3, 0]), np.array([5, 0])) == 1.0
    assert homogeneity_p_value(np.array([0, 0]), np.array([5, 1])) == 1.0


@pytest.mark.parametrize(
    ("n", "correct", "drift"),
    [(0, 0, False), (20, 14, False), (500, 450, False), (500, 370, True), (100_000, 89_300, False)],
)
def test_feedback(n: int, correct: int, drift: bool) -> None:
    found = compare_feedback(Feedback(n, correct), 0.9, 5000)
    assert found.drifted is drift
    assert found.low <= (correct / n if n else 0.5) <= found.high
    assert (found.accuracy is None) is (n == 0)
    assert "90.0% before" in str(found)


def test_a_small_test_split_is_no_exact_expectation() -> None:
    feedback = Feedback(2000, 1640)
    assert compare_feedback(feedback, 0.9, 5000).drifted
    assert not compare_feedback(feedback, 0.9, 100).drifted
    assert not compare_feedback(Feedback(2000, 1920), 1.0, 60).drifted, "all of 60 right is no 100 %"
