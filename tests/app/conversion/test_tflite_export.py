"""What the TFLite converter is given: it reads weights that lie channels-last from memory that may be free already."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from app.checkpoint import read_model
from app.conversion.tflite_export import export_tflite
from app.models import ServingModel
from tests.app.conversion.conftest import DenseDigits


class Stop(Exception):
    """The rest of a conversion is not wanted."""


def test_weights_that_lie_channels_last_are_contiguous_before_they_are_converted(
    dense_digits: DenseDigits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of a pruned network do, which came out as noise in three of four conversions."""
    import litert_torch

    card, classifier = read_model(dense_digits.checkpoint)
    model = ServingModel(classifier.to(memory_format=torch.channels_last)).eval()
    assert not all(weight.is_contiguous() for weight in model.parameters())
    given: list[nn.Module] = []

    def convert(module: nn.Module, **_: object) -> None:
        given.append(module)
        raise Stop

    monkeypatch.setattr(litert_torch, "convert", convert)
    with pytest.raises(Stop):
        export_tflite(model, card.input_size, tmp_path / "model.tflite")
    (module,) = given
    assert all(tensor.is_contiguous() for tensor in (*module.parameters(), *module.buffers()))
