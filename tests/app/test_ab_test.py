"""What is said of an A/B test, and when."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time

import numpy as np
import pytest

from app.ab_test import Arm, Comparison, Contrast, Interval, Verdict, compare
from app.errors import BadInput
from app.feedback import Feedback


def contrast(champion: tuple[int, int], challenger: tuple[int, int], margin: float = 0.01) -> Contrast:
    """Of (n, correct) each."""
    return compare(("old", Feedback(*champion)), {"new": Feedback(*challenger)}, margin=margin).contrasts[0]


@pytest.mark.parametrize(
    ("champion", "challenger", "verdict"),
    [
        ((9000, 7920), (1000, 960), Verdict.BETTER),
        ((9000, 7920), (1000, 790), Verdict.WORSE),
        ((9000, 7920), (1000, 885), Verdict.UNDECIDED),
        ((900_000, 792_000), (100_000, 88_100), Verdict.EQUIVALENT),
        ((50, 50), (50, 0), Verdict.WORSE),
        ((50, 0), (50, 50), Verdict.BETTER),
        ((50, 50), (50, 50), Verdict.UNDECIDED),
        ((0, 0), (0, 0), Verdict.UNDECIDED),
        ((1, 1), (1, 0), Verdict.UNDECIDED),
        ((1000, 900), (0, 0), Verdict.UNDECIDED),
    ],
)
def test_verdicts(champion: tuple[int, int], challenger: tuple[int, int], verdict: Verdict) -> None:
    found = contrast(champion, challenger)
    assert found.verdict is verdict
    assert (found.p_value <= 0.05) is (verdict in (Verdict.BETTER, Verdict.WORSE))
    assert (found.remaining == 0) is (verdict is not Verdict.UNDECIDED)
    if found.difference is not None:
        assert found.interval.low <= found.difference <= found.interval.high


def test_a_difference_that_is_certain_and_small_is_a_difference() -> None:
    found = contrast((4_000_000, 3_600_000), (4_000_000, 3_612_000))
    assert found.interval.farthest < 0.01
    assert found.verdict is Verdict.BETTER


def test_a_wider_margin_is_kept_sooner() -> None:
    assert contrast((9000, 7920), (1000, 880)).verdict is Verdict.UNDECIDED
    assert contrast((9000, 7920), (1000, 880), margin=0.08).verdict is Verdict.EQUIVALENT


def test_all_right_is_no_proof_of_being_always_right() -> None:
    champion = compare(("old", Feedback(20, 20)), {"new": Feedback(20, 0)}).champion
    assert champion.accuracy == 1
    assert champion.interval.high == 1
    assert 0.6 < champion.interval.low < 0.9


def test_what_is_said() -> None:
    assert str(contrast((9000, 7920), (1000, 960))).startswith("challenger better: +")
    undecided = contrast((0, 0), (0, 0))
    assert str(undecided) == "keep collecting: no difference within -100.00 to +100.00 points can be excluded yet"


def test_it_becomes_json() -> None:
    comparison = compare(("a/1", Feedback(100, 90)), {"a/2": Feedback(20, 15)})
    answer = json.loads(json.dumps(dataclasses.asdict(comparison)))
    assert answer["contrasts"][0]["verdict"] == "keep collecting"
    assert answer["champion"]["name"] == "a/1"


def test_feedback_adds_up_in_any_order() -> None:
    """Late feedback, and another start from what was stored, change nothing."""
    answers = [Feedback(1, int(right)) for right in np.random.default_rng(0).random(300) < 0.8]
    shuffled = [answers[index] for index in np.random.default_rng(1).permutation(300)]
    totals = [sum(one, Feedback()) for one in (answers, shuffled)]
    assert totals[0] == totals[1]
    assert totals[0].n == 300
    stored = json.loads(json.dumps(dataclasses.asdict(totals[0])))
    assert Feedback(**stored) == totals[0]


@pytest.mark.parametrize(("n", "correct"), [(-1, 0), (5, -1), (5, 6), (-3, -4)])
def test_counts_that_cannot_be(n: int, correct: int) -> None:
    with pytest.raises(BadInput, match=f"not {correct} correct of {n}"):
        Feedback(n, correct)


@pytest.mark.parametrize(
    ("alpha", "margin", "match"),
    [
        (0.0, 0.01, "alpha"),
        (1.0, 0.01, "alpha"),
        (float("nan"), 0.01, "alpha"),
        (0.05, 0.0, "margin"),
        (0.05, 1.1, "margin"),
    ],
)
def test_settings_that_make_no_sense(alpha: float, margin: float, match: str) -> None:
    with pytest.raises(BadInput, match=match):
        compare(("a", Feedback(5, 5)), {"b": Feedback(5, 5)}, alpha=alpha, margin=margin)


def test_a_test_needs_a_challenger() -> None:
    with pytest.raises(BadInput, match="needs a challenger"):
        compare(("a", Feedback(5, 5)), {})


def test_several_challengers_share_alpha() -> None:
    champion, good, other = ("a", Feedback(9000, 7920)), Feedback(1000, 930), Feedback(1000, 880)
    alone = compare(champion, {"b": good}).contrasts[0]
    both = compare(champion, {"b": good, "c": other})
    first = both.contrasts[0]
    assert [one.challenger.name for one in both.contrasts] == ["b", "c"]
    assert first.p_value == pytest.approx(2 * alone.p_value)
    at_half = compare(champion, {"b": good}, alpha=0.025).contrasts[0]
    assert (first.interval.low, first.interval.high) == pytest.approx(
        (at_half.interval.low, at_half.interval.high), abs=1e-6
    )
    assert first.challenger == alone.challenger, "an arm's own interval is about that arm alone"


@pytest.mark.parametrize(
    ("champion", "challenger"),
    [((900, 792), (100, 92)), ((5000, 4400), (5000, 4475)), ((9000, 8100), (1000, 900)), ((20, 20), (20, 20))],
)
def test_after_the_forecast_there_is_a_verdict(champion: tuple[int, int], challenger: tuple[int, int]) -> None:
    now = contrast(champion, challenger)
    assert now.verdict is Verdict.UNDECIDED
    assert now.remaining

    def after(more: float) -> Verdict:
        total = champion[0] + challenger[0]
        later = [
            (n + round(more * n / total), s + round(more * n / total * (s + 0.5) / (n + 1)))
            for n, s in (champion, challenger)
        ]
        return contrast(later[0], later[1]).verdict

    assert after(0.9 * now.remaining) is Verdict.UNDECIDED
    assert after(1.1 * now.remaining) is not Verdict.UNDECIDED


@pytest.mark.parametrize(("champion", "challenger"), [((0, 0), (0, 0)), ((500, 400), (0, 0)), ((0, 0), (5, 5))])
def test_no_forecast_without_feedback_of_both(champion: tuple[int, int], challenger: tuple[int, int]) -> None:
    found = contrast(champion, challenger)
    assert found.remaining is None
    assert found.difference is None


def test_no_forecast_out_of_sight() -> None:
    assert contrast((1000, 900), (1000, 900), margin=1e-6).remaining is None


def test_it_is_quick_enough_to_be_asked_every_second() -> None:
    challengers = {f"v{index}": Feedback(1000 + index, 900) for index in range(3)}
    compare(("a", Feedback(9000, 8100)), challengers)
    seconds = []
    for count in range(20):
        began = time.process_time()
        compare(("a", Feedback(9000 + count, 8100)), challengers)
        seconds.append(time.process_time() - began)
    assert min(seconds) < 0.03


def test_a_serving_process_may_import_it() -> None:
    code = "import sys, app.ab_test; print(sorted({'torch', 'mlflow', 'ray', 'sklearn', 'scipy'} & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


def test_public_shapes() -> None:
    comparison = compare(("a", Feedback(10, 9)), {"b": Feedback(5, 4)})
    assert isinstance(comparison, Comparison)
    assert comparison.champion == Arm(name="a", n=10, accuracy=0.9, interval=comparison.champion.interval)
    assert isinstance(comparison.champion.interval, Interval)
