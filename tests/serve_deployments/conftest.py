"""A predictor without a cluster, and a client of its routes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.serve_deployments.fakes import ColourPredictor, http_client


@pytest.fixture
def predictor() -> ColourPredictor:
    return ColourPredictor()


@pytest.fixture
async def client(predictor: ColourPredictor) -> AsyncIterator[httpx.AsyncClient]:
    async with http_client(predictor) as client:
        yield client
