"""A state carries its best weights, and they come out of it as a model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from app import checkpoint
from app.checkpoint import read_model
from app.errors import BrokenBundle
from app.settings import FitSettings
from app.train_state import TrainState, save_best
from app.training import Hooks, fit
from tests.app.compared import equal_weights
from tests.app.tiny_data import colour_dataset

pytestmark = pytest.mark.usefixtures("single_thread")

CPU = torch.device("cpu")


@pytest.mark.parametrize("ema", [None, 0.9])
def test_the_best_weights_are_those_of_the_best_epoch(tmp_path: Path, ema: float | None) -> None:
    weights = {}

    def keep(state: TrainState, _due: bool) -> None:
        weights[state.epoch] = {name: value.clone() for name, value in state.evaluated.state_dict().items()}

    state = fit(FitSettings(epochs=6, batch_size=8, ema=ema), colour_dataset(), device=CPU, hooks=Hooks(on_epoch=keep))
    assert equal_weights(state.best_weights, weights[state.best.epoch])
    state.save(tmp_path / "state.pt")
    save_best(tmp_path / "state.pt", tmp_path / "best.pt")
    card, model = read_model(tmp_path / "best.pt")
    assert card == state.card
    assert equal_weights(model.state_dict(), weights[state.best.epoch])
    if ema:
        assert not equal_weights(state.evaluated.state_dict(), state.model.state_dict())


def test_a_state_without_a_finished_epoch_has_no_best(tmp_path: Path) -> None:
    checkpoint.save({"card": {}, "best_weights": {}}, tmp_path / "state.pt")
    with pytest.raises(BrokenBundle, match="holds no finished epoch"):
        save_best(tmp_path / "state.pt", tmp_path / "best.pt")
    assert not (tmp_path / "best.pt").exists()
