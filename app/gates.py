"""The gates an artifact passes before it enters the registry: measured figures against limits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from app.errors import GateFailed

PARITY_LIMIT = 1e-5
"""Largest difference of a probability between an fp32 graph and the PyTorch model."""
ACCURACY_LOSS_LIMIT = 0.0005
"""Largest loss of test accuracy of an fp32 graph against the PyTorch model (0.0005 is 0.05 points)."""

VARIANT_LOSS_LIMIT = 0.003
"""The same of an optimized variant against the fp32 graph, unless the user sets another (0.3 points)."""


@dataclass(frozen=True, slots=True)
class Gate:
    """`measured` must not exceed `limit`."""

    name: str
    measured: float
    limit: float

    @property
    def passed(self) -> bool:
        # Differences of shares are not exact. NaN compares false, so a model that answers NaN does not pass.
        return self.measured <= self.limit * (1 + 1e-9)

    def __str__(self) -> str:
        verdict = "passed" if self.passed else f"failed by {self.measured - self.limit:.3g}"
        return f"{self.name} {self.measured:.3g} (limit {self.limit:.3g}): {verdict}"


def require(gates: Iterable[Gate]) -> None:
    """Raises GateFailed that says of each failed gate by how much."""
    failed = [str(gate) for gate in gates if not gate.passed]
    if failed:
        raise GateFailed("; ".join(failed))
