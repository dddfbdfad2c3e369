"""Versions that are measured beside each other, and where the report about them goes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from app.alike import check_alike
from app.artifact import Bundle, open_bundle
from app.config import Home
from app.registry import ModelVersion, Registry


def open_alike(registry: Registry, references: Sequence[str]) -> list[tuple[ModelVersion, Bundle]]:
    """Raises BadInput for a version with other classes or another input than the first."""
    versions = [registry.resolve(reference) for reference in references]
    found = [(version, open_bundle(version.folder)) for version in versions]
    first, manifest = found[0][0], found[0][1].manifest
    for version, bundle in found[1:]:
        check_alike(version.reference, bundle.manifest, first.reference, manifest)
    return found


def report_file(home: Home, kind: str, versions: Sequence[ModelVersion], suffix: str) -> Path:
    """compare-photos-1-photos-2.html; its folder exists."""
    home.reports.mkdir(parents=True, exist_ok=True)
    return home.reports / f"{kind}-{'-'.join(version.reference.replace('/', '-') for version in versions)}.{suffix}"
