"""Whether two versions answer the same question about the same images, so that one can stand in for the other."""

from __future__ import annotations

from app.artifact import Manifest
from app.errors import BadInput


def check_alike(version: str, manifest: Manifest, other: str, reference: Manifest) -> None:
    """Raises BadInput, naming both, when labels or input of `version` differ from those of `other`."""
    if manifest.labels != reference.labels:
        raise BadInput(
            f"version {version} has other labels than version {other} ({_difference(manifest, reference)}); "
            "they cannot be used together"
        )
    if manifest.input != reference.input:
        raise BadInput(
            f"version {version} takes {_described(manifest)} and version {other} {_described(reference)}; "
            "they cannot be used together"
        )


def _difference(manifest: Manifest, reference: Manifest) -> str:
    changed = sorted(set(manifest.labels) ^ set(reference.labels))
    return ", ".join(changed[:5]) + ("..." if len(changed) > 5 else "") if changed else "in another order"


def _described(manifest: Manifest) -> str:
    return f"{manifest.input.height}x{manifest.input.width} images resized by {manifest.input.resize}"
