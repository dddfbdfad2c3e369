"""A call is repeated when its replica is lost, and only then."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError
from ray.serve._private.common import DeploymentID
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from app.errors import ClusterError, MantaError, Overloaded
from tests.serve_deployments.fake_handle import FakeHandle, client_of

IMAGES = [np.full((2, 2, 3), value, np.uint8) for value in (3, 5)]
UNAVAILABLE = ActorUnavailableError("gone for now", b"0" * 16)


async def test_images_travel_as_one_array() -> None:
    handle = FakeHandle()
    rows = await client_of(handle).predict(IMAGES)
    assert [row.tolist() for row in rows] == [[3, 3, 3], [5, 5, 5]]
    assert (await client_of(handle).predict(IMAGES[1:], waiting=2.5))[0].tolist() == [5, 5, 5]
    assert handle.waiting == 2.5
    assert handle.batches == [(2, 2, 2, 3), (1, 2, 2, 3)]


async def test_lost_replicas_are_tried_again() -> None:
    handle = FakeHandle(ActorDiedError(), UNAVAILABLE)
    assert len(await client_of(handle).predict(IMAGES)) == 2
    assert len(handle.batches) == 3


async def test_not_for_ever() -> None:
    handle = FakeHandle(*[UNAVAILABLE] * 5)
    with pytest.raises(ClusterError, match="lost"):
        await client_of(handle).predict(IMAGES)
    assert len(handle.batches) == 3


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (BackPressureError(num_queued_requests=1, max_queued_requests=1), Overloaded),
        (DeploymentUnavailableError(DeploymentID("Classifier", "classifier-1")), ClusterError),
        (ValueError("expected uint8"), ValueError),
        (TimeoutError(), TimeoutError),
        (asyncio.CancelledError(), asyncio.CancelledError),
    ],
)
async def test_what_a_repetition_cannot_mend_is_not_repeated(
    error: Exception, expected: type[MantaError | BaseException]
) -> None:
    handle = FakeHandle(error)
    with pytest.raises(expected):
        await client_of(handle).predict(IMAGES)
    assert len(handle.batches) == 1


def test_a_ray_that_hides_its_replicas_counts_as_one() -> None:
    """The real count is checked against a real cluster in test_service.py."""
    assert client_of(FakeHandle()).running_replicas() == 1
