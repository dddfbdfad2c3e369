"""A student learns what its teacher answers, whether it is asked each time or its answers are looked up."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import numpy as np
import pytest
import torch

from app.batches import DeviceSplit
from app.datasets import Dataset
from app.distill import AskedTeacher, CachedTeacher, Distillation, can_cache, teacher_logits
from app.models import build_classifier
from app.objective import Batch, CrossEntropy
from app.settings import FitSettings
from app.training import fit
from tests.app.compared import outcome
from tests.app.tiny_data import colour_dataset

pytestmark = pytest.mark.usefixtures("single_thread")

CPU = torch.device("cpu")
STILL = FitSettings(epochs=3, batch_size=8, shift=0, rotate=0, colour=0, model="mobile")


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return colour_dataset()


@pytest.fixture(scope="module")
def teacher(dataset: Dataset) -> Any:
    return fit(FitSettings(epochs=20, batch_size=8), dataset, device=CPU).model


def batch(logits: torch.Tensor) -> Batch:
    count = len(logits)
    return Batch(
        np.arange(count), torch.zeros(count, dtype=torch.bool), torch.zeros(count, 3, 8, 8), torch.arange(count) % 3
    )


def distillation(answer: torch.Tensor, *, temperature: float, alpha: float) -> Distillation:
    return Distillation(FitSettings(), lambda _: answer, temperature=temperature, alpha=alpha)


def test_the_loss_is_that_of_the_paper() -> None:
    torch.manual_seed(0)
    student, taught = torch.randn(4, 3), torch.randn(4, 3)
    loss = distillation(taught, temperature=3.0, alpha=0.7)(student, batch(student))
    p, q = (taught / 3).softmax(1), (student / 3).softmax(1)
    soft = (p * (p / q).log()).sum(1).mean()
    hard = CrossEntropy(FitSettings())(student, batch(student))
    assert loss.item() == pytest.approx((0.7 * 9 * soft + 0.3 * hard).item(), rel=1e-5)


def test_alpha_of_zero_is_plain_training() -> None:
    student = torch.randn(4, 3)
    loss = distillation(torch.randn(4, 3), temperature=2.0, alpha=0.0)(student, batch(student))
    assert loss.item() == pytest.approx(CrossEntropy(FitSettings())(student, batch(student)).item())


def test_a_student_that_answers_like_its_teacher_has_nothing_to_learn() -> None:
    logits = torch.randn(4, 3, requires_grad=True)
    distillation(logits.detach().clone(), temperature=4.0, alpha=1.0)(logits, batch(logits)).backward()
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-6


@pytest.mark.parametrize("name", ["shift", "rotate", "colour", "cutout", "mixup", "cutmix"])
def test_answers_are_kept_only_where_images_stay_as_they_are(name: str) -> None:
    assert can_cache(STILL)
    assert not can_cache(dataclasses.replace(STILL, **cast(Any, {name: 0.1})))


def test_looked_up_answers_are_the_asked_ones(dataset: Dataset, teacher: Any) -> None:
    """Also of mirrored images."""
    logits = teacher_logits(teacher, DeviceSplit(dataset.train, CPU))
    assert logits.shape == (2, 48, 3)
    states = [
        fit(STILL, dataset, device=CPU, objective=Distillation(STILL, each, temperature=4.0, alpha=0.9))
        for each in (AskedTeacher(teacher, CPU), CachedTeacher(logits))
    ]
    asked, cached = (outcome(state) for state in states)
    for one, other in zip(asked, cached, strict=True):
        assert one == pytest.approx(other, rel=1e-3)


def test_a_student_agrees_with_a_teacher_that_is_wrong(dataset: Dataset) -> None:
    """Labels say one thing, the teacher another; with alpha 1 only the teacher counts."""
    shifted = np.roll(np.eye(3, dtype=np.float32)[dataset.train.labels] * 8, 1, axis=1)
    wrong = CachedTeacher(np.stack([shifted, shifted]))
    settings = dataclasses.replace(STILL, epochs=20)
    state = fit(settings, dataset, device=CPU, objective=Distillation(settings, wrong, temperature=1.0, alpha=1.0))
    assert state.history[-1].train_accuracy < 0.2


def test_the_teacher_is_not_trained(dataset: Dataset) -> None:
    model = build_classifier("mobile", 3, (8, 8))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fit(STILL, dataset, device=CPU, objective=Distillation(STILL, AskedTeacher(model, CPU), temperature=4.0, alpha=0.9))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
