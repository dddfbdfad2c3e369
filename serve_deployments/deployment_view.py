"""What is deployed, as the routes may see it: read-only, made anew for each look."""

from __future__ import annotations

from dataclasses import dataclass

from app.artifact import Manifest
from app.errors import ClusterError, NotFound


@dataclass(frozen=True, slots=True)
class VersionView:
    version: str
    manifest: Manifest
    running_replicas: int

    @property
    def problem(self) -> str | None:
        """Why this version cannot answer; None when it can."""
        return f"no replica of version {self.version} runs" if self.running_replicas == 0 else None


@dataclass(frozen=True, slots=True)
class DeploymentView:
    model: str
    """The registry's name; empty when nothing was deployed yet."""
    versions: tuple[VersionView, ...]
    champion: str | None

    def find(self, model: str, version: str | None = None) -> VersionView:
        """That version, or without one the champion, or where there is none the first.

        Raises ClusterError when nothing is deployed, NotFound for another model or version.
        """
        if not self.versions:
            raise ClusterError("no model is deployed yet")
        if model != self.model:
            raise NotFound(f"there is no model {model[:200]!r}; the one deployed is {self.model!r}")
        wanted = self.champion if version is None else version
        for each in self.versions:
            if each.version == wanted:
                return each
        if version is None:
            return self.versions[0]
        have = ", ".join(each.version for each in self.versions)
        raise NotFound(f"model {model!r} has no version {version[:100]!r} deployed (it has: {have})")
