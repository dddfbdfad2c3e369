"""Layers that compute with rounded values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from app.checkpoint import read_model, save, weights_only
from app.conversion.answers import compare_answers
from app.conversion.bundling import torch_predict
from app.conversion.quantize import Scheme, best_static, calibration_images
from app.evaluate import predict_in_batches
from app.inference import OnnxClassifier
from app.models import ServingModel
from app.quantization_aware import round_layers, rounded_inputs, rounded_weights
from app.settings import FitSettings
from app.training import fit
from tests.app.conversion.conftest import DenseDigits
from tests.app.tiny_data import one_thread


def test_weights_take_7_bits_of_each_channel_and_gradients_pass() -> None:
    weight = nn.Parameter(torch.randn(3, 4, 5, 5) * torch.tensor([1.0, 10.0, 0.1]).view(3, 1, 1, 1))
    rounded = rounded_weights(weight)
    for channel, whole in zip(rounded.detach(), weight.detach(), strict=True):
        step = whole.abs().max() / 64
        levels = channel / step
        assert torch.allclose(levels, levels.round(), atol=1e-3)
        assert (channel - whole).abs().max() <= step / 2 + 1e-6
    rounded.backward(torch.full_like(rounded, 2.0))
    assert weight.grad is not None
    assert (weight.grad == 2).all()


def test_inputs_take_8_bits_and_zero_stays_zero() -> None:
    inputs = torch.cat([torch.zeros(1), torch.rand(1000) * 3 - 1])
    rounded = rounded_inputs(inputs)
    assert len(rounded.unique()) <= 257
    assert rounded[0] == 0
    assert (rounded - inputs).abs().max() <= 3 / 255 / 2 + 1e-6


@pytest.mark.parametrize("round_them", [rounded_weights, rounded_inputs])
def test_zeros_are_no_division_by_zero(round_them: object) -> None:
    assert callable(round_them)
    assert (round_them(torch.zeros(2, 3)) == 0).all()


def test_the_network_answers_as_its_int8_graph_will(dense_digits: DenseDigits, tmp_path: Path) -> None:
    test, whole = dense_digits.dataset.test, dense_digits.measured.reference

    def mean_difference(one: np.ndarray, other: np.ndarray) -> float:
        return compare_answers(one, other, test.labels).mean_error

    best_static(
        dense_digits.sources.fp32,
        tmp_path / "int8.onnx",
        calibration_images(dense_digits.dataset.train),
        lambda _: compare_answers(whole, whole, test.labels),
        lambda _: True,
        schemes=[Scheme(calibration="minmax", per_channel=True)],
    )
    int8 = predict_in_batches(OnnxClassifier(tmp_path / "int8.onnx").predict, test.images)
    model = ServingModel(read_model(dense_digits.checkpoint)[1]).eval()
    names = list(model.state_dict())
    round_layers(model)
    assert list(model.state_dict()) == names
    rounded = predict_in_batches(torch_predict(model), test.images)
    assert mean_difference(rounded, whole) > 0
    assert mean_difference(rounded, int8) < 0.7 * mean_difference(whole, int8)


def test_a_network_learns_to_bear_it(dense_digits: DenseDigits, tmp_path: Path) -> None:
    """A few steps more with rounded values, and its weights serve as any others do."""
    settings = FitSettings(
        model="dense_cnn", epochs=1, batch_size=64, lr=1e-4, quantization_aware=True, rotate=0, colour=0, shift=0
    )
    with one_thread():
        state = fit(settings, dense_digits.dataset, device=torch.device("cpu"), initial=dense_digits.checkpoint)
    assert state.history[-1].val_accuracy > 0.9
    save(weights_only(state.card, state.model), tmp_path / "model.pt")
    again = read_model(tmp_path / "model.pt")[1]
    assert {type(module) for module in again.modules() if isinstance(module, nn.Conv2d)} == {nn.Conv2d}
