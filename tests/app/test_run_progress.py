"""How far a run is, from its epochs."""

from __future__ import annotations

import pytest

from app.run_progress import RunProgress
from tests.app.epochs import history


def test_the_best_epoch_need_not_be_the_last() -> None:
    progress = RunProgress.of(history([0.1, 0.5, 0.3]))
    assert (progress.epochs_done, progress.best_epoch, progress.best_val_accuracy) == (3, 2, 0.5)
    assert progress.train_seconds == 3


def test_images_per_second_over_all_epochs() -> None:
    from dataclasses import replace

    first, second = history([0.1, 0.2])
    slow = replace(first, seconds=3, images_per_second=100)
    fast = replace(second, seconds=1, images_per_second=300)
    assert RunProgress.of([slow, fast]).mean_images_per_second == pytest.approx(150)
